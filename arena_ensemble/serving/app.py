"""The routes: preferences, the model, health, metrics and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ..errors import ArenaError, InputError
from .frame import FAULT, Frame, Limits, error_body
from .gate import BusyError, Gate
from .measures import CONTENT_TYPE, Measures
from .schema import ErrorOut, ModelOut, PreferencesIn, PreferencesOut
from .service import MOST_EXPLAINED, Service

_SHOWN_ERRORS = 3
_UNREADABLE = "body: no JSON in UTF-8, or nested too deeply; send an object as /openapi.json describes it"


def create_app(service: Service, limits: Limits, gate: Gate) -> Frame:
    """The ASGI application of one ensemble. The gate is closed when it ends."""
    measures = Measures(lambda: gate.inside)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        gate.close()

    # the interactive pages of FastAPI load their scripts from elsewhere: there are none
    app = FastAPI(
        title="arena-ensemble",
        version=version("arena-ensemble"),
        description="Calibrated probabilities that people prefer one of two chatbot answers.",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorOut, "description": text}
        for status, text in {
            401: "the token is missing or wrong",
            408: "the body came too slowly",
            413: "the body is too large",
            415: "the body is not application/json",
            422: "the body is not as described here",
            429: "too many requests wait; try again after Retry-After seconds",
        }.items()
    }

    @app.post("/v1/preferences", responses=errors, response_model_exclude_none=True)
    async def preferences(body: PreferencesIn, request: Request) -> PreferencesOut:
        """P(A wins), P(B wins), P(tie) of each battle, in order; with ``explain`` also why."""
        count = len(body.battles)
        if count > limits.max_battles:
            raise HTTPException(422, f"{count} battles: send at most {limits.max_battles} at once")
        if body.explain and count > MOST_EXPLAINED:
            raise HTTPException(422, f"{count} battles to explain: send at most {MOST_EXPLAINED} at once")
        found = await gate.run(lambda: service.preferences(body.battles, explain=body.explain))
        measures.battles.inc(count)
        return PreferencesOut(preferences=found, request_id=request.state.request_id)

    @app.get("/v1/model", responses={401: errors[401]})
    async def model() -> ModelOut:
        """What is served, and what a request may be."""
        card = service.ensemble.card
        return ModelOut(
            choice=card.choice,
            members=service.members(),
            rows=card.rows,
            log_loss=card.log_loss,
            n_classes=card.n_classes,
            max_battles=limits.max_battles,
            max_explained=MOST_EXPLAINED,
            max_bytes=limits.max_bytes,
            neighbours=service.train is not None,
        )

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether the server takes requests."""
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(measures.text(), media_type=CONTENT_TYPE)

    for path, kind in (("page.html", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        content = files(__package__).joinpath(path).read_bytes()
        app.add_api_route(
            "/" if path == "page.html" else f"/{path}",
            _static(content, kind),
            include_in_schema=False,
            response_model=None,
        )

    _add_refusals(app, measures)
    return Frame(app, limits, measures)


def _add_refusals(app: FastAPI, measures: Measures) -> None:
    """Every refusal in one form, counted by its kind."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        measures.refused.labels("invalid").inc()
        return _refused(request, 422, _in_words(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # FastAPI's own, of a body that cannot be decoded
            measures.refused.labels("invalid").inc()
            return _refused(request, 422, _UNREADABLE)
        measures.refused.labels("invalid" if error.status_code == 422 else str(error.status_code)).inc()
        return _refused(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> Response:
        measures.refused.labels("busy").inc()
        return _refused(request, 429, "too many requests wait; try again", {"retry-after": "1"})

    @app.exception_handler(InputError)
    async def unusable(request: Request, error: ArenaError) -> Response:
        measures.refused.labels("invalid").inc()
        return _refused(request, 422, str(error))

    @app.exception_handler(Exception)  # raised again after this answer: the frame logs it
    async def fault(request: Request, error: Exception) -> Response:
        return _refused(request, 500, FAULT)


def _static(content: bytes, kind: str) -> Any:
    async def send() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return send


def _refused(request: Request, status: int, message: str, headers: Any = None) -> Response:
    body = error_body(status, message, request.state.request_id)
    return Response(body, status, headers, "application/json")


def _place(parts: Sequence[Any]) -> str:
    """Names of fields and numbers of rows; pydantic also names functions, with their addresses."""
    return ".".join(str(part) for part in parts if isinstance(part, int) or str(part).isidentifier())


def _in_words(errors: Sequence[Any]) -> str:
    """The first errors of a body, with where they are; never the values, which may be a megabyte."""
    found = [f"{_place(one['loc'])[:100]}: {str(one['msg'])[:200]}" for one in errors[:_SHOWN_ERRORS]]
    more = f"; and {len(errors) - _SHOWN_ERRORS} more" if len(errors) > _SHOWN_ERRORS else ""
    return "; ".join(found) + more
