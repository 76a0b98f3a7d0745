"""Bad data files: how to build each and what the one-line error must say.

The same table runs through the library (``test_bad_files.py``) and can run through the command line.
``role`` says what the file is given as: ``train`` (to be learned from), ``test`` (to be predicted),
``predictions``, ``labels`` or ``sample`` (a sample submission for ids 1, 2, 3).
"""

from __future__ import annotations

from bad_battles import BATTLES
from bad_file_builders import GOOD, LISTED, Case, file, parquet, rows, text

__all__ = ["BATTLES", "CASES", "GOOD", "LISTED", "Case", "parquet", "rows", "text"]

KAGGLE_PROBS = "id,winner_model_a,winner_model_b,winner_tie\n"
PREDICTIONS = [
    Case(name, file(content, "p.csv"), message, "predictions")
    for name, content, message in [
        (
            "predictions, no columns known",
            "id,score\n1,2\n",
            "holds no predictions: its columns are id, score",
        ),
        ("predictions without ids", "p_a,p_b,p_tie\n1,0,0\n", "lacks the column id"),
        ("predictions, header alone", "id,p_a,p_b,p_tie\n", "has a header but no rows"),
        ("predictions, a pair only", "id,m_a,m_b\n1,.5,.5\n", "holds no predictions"),
        ("predictions, NaN", "id,p_a,p_b,p_tie\n7,.5,nan,.5\n", r"row 1 \(id 7\): p_b is NaN"),
        ("predictions, empty", "id,p_a,p_b,p_tie\n7,.5,,.5\n", r"row 1 \(id 7\): p_b is empty"),
        ("predictions, a word", "id,p_a,p_b,p_tie\n7,.5,x,.5\n", "p_b is 'x', expected a number"),
        (
            "predictions, sum 1.1",
            KAGGLE_PROBS + "1,1,0,0\n2,.5,.5,.1\n",
            r"row 2 \(id 2\): .* sum to 1.1, expected 1",
        ),
        ("predictions, logits", KAGGLE_PROBS + "1,-.4,2,0\n2,1,0,0\n", r"row 1 .*are not between 0 and 1"),
        ("predictions, infinity", KAGGLE_PROBS + "1,inf,0,0\n", "are not between 0 and 1"),
        (
            "predictions, percent",
            KAGGLE_PROBS + "1,50,25,25\n2,1,0,0\n3,50,25,25\n",
            r"\(2 of 3 rows are like this\)",
        ),
        (
            "predictions, logs in columns of probabilities",
            "id,p_a,p_b,p_tie\n1,-1,-1,-1.2\n",
            "not between 0 and 1",
        ),
        (
            "predictions, probabilities in columns of logs",
            "id,logp_a,logp_b,logp_tie\n1,.5,.2,.3\n",
            "exponentials",
        ),
        (
            "predictions, an id twice",
            "id,p_a,p_b,p_tie\n1,1,0,0\n1,1,0,0\n",
            r"row 2 \(id 1\): the id repeats row 1",
        ),
        (
            "predictions, a broken fold",
            "id,fold,p_a,p_b,p_tie\n1,x,1,0,0\n",
            "fold is 'x', expected a whole number",
        ),
        (
            "predictions, a fold beyond all integers",
            f"id,fold,p_a,p_b,p_tie\n1,{'9' * 30},1,0,0\n",
            "fold is '9+', expected a whole number",
        ),
        (
            "predictions, folds of other ids",
            "id,fold,p_a,p_b,p_tie\n1,0,1,0,0\n1,1,1,0,0\n2,1,1,0,0\n",
            "fold",
        ),
        ("predictions, one member of two bad", "id,m_a,m_b,m_tie,n_a,n_b,n_tie\n1,1,0,0,1,1,1\n", "sum to 3"),
    ]
]

LABELS = [
    Case(name, file(content, "l.csv"), message, "labels")
    for name, content, message in [
        ("labels without outcome", "id,x\n1,2\n", "has no outcome; expected winner_model_a"),
        (
            "labels, 3",
            "id,label\n5,3\n",
            r"row 1 \(id 5\): label is '3', expected 0 \(A\), 1 \(B\) or 2 \(tie\)",
        ),
        ("labels, none won", KAGGLE_PROBS + "5,0,0,0\n", r"row 1 \(id 5\): winner columns sum to 0"),
        ("labels, an id twice", "id,label\n5,1\n5,1\n", r"row 2 \(id 5\): the id repeats row 1"),
        ("labels, header alone", "id,label\n", "has a header but no rows"),
    ]
]

SAMPLES = [
    Case(name, file(content, "sample_submission.csv"), message, "sample")
    for name, content, message in [
        (
            "sample, other columns",
            "id,a,b,c\n1,1,0,0\n",
            "has the columns id, a, b, c, the submission has id, winner",
        ),
        ("sample, an id missing", KAGGLE_PROBS + "1,1,0,0\n2,1,0,0\n", "id 3 is not in the sample"),
        (
            "sample, another id",
            KAGGLE_PROBS + "1,1,0,0\n2,1,0,0\n3,1,0,0\n4,1,0,0\n",
            "id 4 is only in the sample",
        ),
        (
            "sample, an id twice",
            KAGGLE_PROBS + "1,1,0,0\n1,1,0,0\n3,1,0,0\n",
            r"row 2 \(id 1\): the id repeats",
        ),
        ("sample, empty", "", "is empty"),
    ]
]

CASES = [*BATTLES, *PREDICTIONS, *LABELS, *SAMPLES]
