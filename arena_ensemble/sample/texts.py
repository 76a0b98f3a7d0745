"""The words of the sample arena: facts, wordings and sentence banks. Data only; read by sample.py.

Every sentence was written for this project. ``{s}`` is the subject of the question, ``{a}`` the
answer given.
"""

from __future__ import annotations

from typing import Final

FACTS: Final[dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    # relation: (subject, right answer, wrong answers that readers spot)
    "capital": (
        ("Australia", "Canberra", ("Sydney", "Melbourne")),
        ("Canada", "Ottawa", ("Toronto", "Montreal")),
    ),
    "symbol": (
        ("gold", "Au", ("Gd", "Go")),
        ("iron", "Fe", ("Ir", "In")),
    ),
    "author": (
        ("Moby-Dick", "Herman Melville", ("Mark Twain", "Jack London")),
        ("Frankenstein", "Mary Shelley", ("Bram Stoker", "Edgar Allan Poe")),
    ),
    "complexity": (
        ("binary search", "O(log n)", ("O(n)", "O(n^2)")),
        ("a hash table lookup", "O(1) on average", ("O(n!) on average", "O(n^2) on average")),
    ),
    "organ": (
        ("making insulin", "the pancreas", ("the spleen", "the gallbladder")),
        ("filtering the blood", "the kidneys", ("the stomach", "the thyroid")),
    ),
    "boiling": (
        ("water at sea level", "100 degrees Celsius", ("80 degrees Celsius", "150 degrees Celsius")),
        ("ethanol", "78 degrees Celsius", ("12 degrees Celsius", "210 degrees Celsius")),
    ),
}

QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "capital": (
        "What is the capital of {s}?",
        "Which city is the capital of {s}?",
        "{s}: name its capital city.",
    ),
    "symbol": (
        "What is the chemical symbol of {s}?",
        "Which symbol stands for {s}?",
        "Give the symbol for {s}.",
    ),
    "author": ("Who wrote {s}?", "Name the author of {s}.", "{s} was written by whom?"),
    "complexity": ("How fast is {s}?", "What is the running time of {s}?", "State the complexity of {s}."),
    "organ": (
        "Which organ is in charge of {s}?",
        "Name the body part for {s}.",
        "What does the body use for {s}?",
    ),
    "boiling": (
        "At what temperature does {s} boil?",
        "Boiling point of {s}?",
        "How hot must {s} get to boil?",
    ),
}

ANSWERS: Final = (
    "The answer is {a}.",
    "That would be {a}.",
    "For {s}, it is {a}.",
    "It is {a}, as most reference books say.",
    "You are looking for {a}.",
)

OPENERS: Final = (
    "I am preparing a quiz for friday evening.",
    "My cousin asked me this at dinner.",
    "Quick question from a student.",
    "We argued about this at work today.",
    "This came up in a podcast.",
    "I am reading for an exam next week.",
    "Please help me settle a bet.",
    "I am writing a short article.",
    "Our trivia team got stuck here.",
    "I forgot this since school.",
    "A customer wanted to know.",
    "I need this for a poster.",
    "For my notes, please.",
    "I have been wondering all day.",
    "My teacher brought this up.",
    "This is for a crossword.",
)
PLACES: Final = (
    "in Leeds", "in Porto", "in Osaka", "in Lima", "in Oslo", "in Quito", "in Perth", "in Turin", "in Accra",
    "in Hanoi", "in Denver", "in Cairo", "in Ghent", "in Malmo", "in Davao", "in Tunis", "on a train",
    "at home", "on a ferry", "at the library", "in a cafe", "at the airport", "on the bus",
    "between two meetings",
)  # fmt: skip

INSTRUCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "child": ("Explain it for a child.", "Say it so that a small kid understands."),
    "expert": ("Explain it for an expert.", "I am a specialist, be technical."),
    "spanish": ("Answer in Spanish.", "Please reply in Spanish."),
}

# How an answer in each register reads. A response that ignores the instruction uses another one.
REGISTERS: Final[dict[str, tuple[str, ...]]] = {
    "plain": (
        "This is a common question and the facts are well recorded.",
        "Many people mix it up with something that sounds close.",
        "It is worth checking the date of the source.",
        "A good atlas or handbook lists it on the first page.",
        "The name goes back a long time.",
        "There are a few exceptions, though they rarely matter.",
        "Most courses cover it in the first month.",
        "The details depend on how the terms are defined.",
    ),
    "child": (
        "Imagine a big toy box where every toy has its own place.",
        "Think of it like a friendly puppy that always finds its way home.",
        "It is like a game you play with your friends.",
        "Picture a rainbow and pick your favourite crayon.",
        "Grown-ups sometimes forget it, but you can remember it with a song.",
        "It is as easy as counting cookies.",
    ),
    "expert": (
        "Formally, the claim follows from the standard derivation in the literature.",
        "The underlying mechanism is well characterised under equilibrium assumptions.",
        "Note the asymptotic regime and the associated boundary conditions.",
        "Empirical measurements corroborate the canonical parameterisation.",
        "The nomenclature is codified by the relevant international committee.",
        "See the peer-reviewed surveys for a rigorous treatment.",
    ),
    "spanish": (
        "La respuesta se encuentra en cualquier libro de referencia.",
        "Muchas personas lo confunden con otra cosa parecida.",
        "Es un dato muy conocido desde hace mucho tiempo.",
        "Conviene revisar la fuente antes de citarla.",
        "Los detalles dependen de la definicion que se use.",
        "En la escuela se aprende durante el primer mes.",
    ),
}

MANNERS: Final[dict[str, tuple[str, ...]]] = {
    "helpful": ("Happy to help with this.", "Great question, let us look at it.", "Sure, glad you asked."),
    "neutral": ("Here is what I found.", "Regarding your message:", "In short:"),
    "hedging": (
        "I might be mistaken and it is perhaps hard to tell.",
        "It is possibly so, although maybe nobody really knows.",
        "I suppose, arguably, it could seem to be the case.",
    ),
    "rude": (
        "That is a silly thing to ask.",
        "Obviously, anyone with a brain knows it.",
        "Stop wasting my time with nonsense.",
    ),
}

REFUSALS: Final = (
    "I'm sorry, but I cannot help with that request.",
    "As an AI language model, I am unable to answer this question.",
    "I cannot provide an answer to that.",
)

OFF_TOPIC: Final = (
    "Bread dough should rest overnight before you bake it in a hot oven.",
    "The best season to prune roses is late winter.",
    "Football clubs often change their coach in the middle of the season.",
    "A sailing boat needs a keel to hold its course.",
    "Remember to water the tomatoes early in the morning.",
    "Old cameras used a roll of film with thirty-six pictures.",
)

FOLLOW_UPS: Final = (
    "Are you sure? Where could I look that up?",
    "Thanks. Can you say a bit more?",
    "And why do people get it wrong?",
    "Could you put that in other words?",
)

BULLETS: Final = (
    "**Key point:** {a}",
    "Look at the definition first",
    "Compare with two other sources",
    "Write the result down",
    "Mind the common confusion",
)

OTHER_SCRIPTS: Final = (
    # (prompt, right answer, wrong answer): a few rows in other scripts
    (
        "Какой город является столицей Австралии?",
        "Столица Австралии — Канберра.",
        "Столица Австралии — Сидней.",
    ),
    ("澳大利亚的首都是哪里？", "澳大利亚的首都是堪培拉。", "澳大利亚的首都是悉尼。"),
    ("ما هي عاصمة كندا؟", "عاصمة كندا هي أوتاوا.", "عاصمة كندا هي تورونتو."),
    ("カナダの首都はどこですか？", "カナダの首都はオタワです。", "カナダの首都はトロントです。"),
    ("कनाडा की राजधानी क्या है?", "कनाडा की राजधानी ओटावा है।", "कनाडा की राजधानी टोरंटो है।"),
)
