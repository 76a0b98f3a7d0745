"""The verb judge: ask a served model about battles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .runner import PARTLY, Result


def judge(
    data: Annotated[Path, typer.Option(metavar="FILE", help="battles to judge; votes are not shown to it")],
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="an OpenAI-compatible server, such as http://localhost:8000/v1")
    ],
    model: Annotated[str, typer.Option(help="the model that it serves")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="judgements to write, a CSV; answers lie beside")],
    name: Annotated[str, typer.Option(help="the judge's name", show_default="the model's")] = "",
    orders: Annotated[str, typer.Option(help="both, or which response is shown first: a or b")] = "both",
    samples: Annotated[int, typer.Option(help="answers to each question, with a temperature above 0")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="of the judge's answers")] = 0.0,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="tokens of an answer; more for a template that asks for reasons")
    ] = 16,
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="question with $prompt, $first and $second")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="questions at a time")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds until a try is given up")] = 120.0,
    tries: Annotated[int, typer.Option(min=1, help="tries for a question")] = 6,
    key_env: Annotated[
        str, typer.Option(metavar="NAME", help="environment variable that holds the key")
    ] = "OPENAI_API_KEY",
    price_in: Annotated[float | None, typer.Option(min=0.0, help="dollars per million tokens read")] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0.0, help="dollars per million tokens written")
    ] = None,
    format: o.FormatOption = None,
) -> Result:
    """Ask a served LLM which answer is better; resumable, both orders."""
    from ..io import read_battles
    from ..judging.client import Endpoint
    from ..judging.run import judge_battles
    from .progress import Count

    server = Endpoint(
        endpoint,
        model,
        key_env=key_env,
        temperature=temperature,
        max_tokens=max_tokens,
        timeout=timeout,
        tries=tries,
    )
    o.check_target(out)
    battles = read_battles(data, format=format)
    with Count("questions") as count:
        found = judge_battles(
            battles.without_outcomes(),
            server,
            out,
            name=name,
            orders=orders,
            samples=samples,
            concurrency=concurrency,
            template=template,
            price_in=price_in,
            price_out=price_out,
            on_progress=count,
        )
    kind = "label probabilities" if found.with_probabilities else "verdicts"
    lines = [
        f"{out}: {found.judgements:,} judgements of {len(battles):,} battles ({kind}), "
        f"{found.missing:,} missing; {found.asked:,} questions asked now"
    ]
    if found.unanswered:
        lines.append(
            f"{found.unanswered:,} questions have no answer yet: run the same command to ask them again"
        )
    cost = "" if found.dollars is None else f", {found.dollars:.2f} dollars"
    lines.append(f"{found.tokens_in:,} tokens read and {found.tokens_out:,} written in all{cost}")
    lines.append(f"next: arena-ensemble panel --judgements {out} --votes FILE --out DIR")
    return Result(asdict(found), "\n".join(lines), PARTLY if found.unanswered else 0)
