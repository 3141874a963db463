from eyehand.inspection.findings import Finding, Place, judge, merged


def test_places_decide_the_verdict_and_the_advice() -> None:
    place = Place("stem", "is dead")
    look = judge("Dead units", [place], look="Lower the rate.", ok="Nothing to do.")
    assert (look.verdict, look.advice, look.places) == ("look here", "Lower the rate.", (place,))
    fine = judge("Dead units", iter([]), look="Lower the rate.", ok="Nothing to do.")
    assert (fine.verdict, fine.advice) == ("ok", "Nothing to do.")


def test_findings_of_one_name_become_one_and_those_to_look_at_come_first() -> None:
    one, two = Place("a", "x"), Place("b", "y")
    found = merged(
        [Finding("fine", "ok"), Finding("run", "ok"), Finding("run", "mend", (one,)),
         Finding("run", "mend", (one, two))]
    )  # fmt: skip
    assert found == [Finding("run", "mend", (one, two)), Finding("fine", "ok")]
