"""Names that a person types."""

from eyehand.functional.names import unknown_name


def test_nearest_name_is_suggested() -> None:
    sentence = unknown_name("recipe", "bcz-metawrld", ["bcz-metaworld", "other"])
    assert sentence == "no recipe 'bcz-metawrld'. Did you mean 'bcz-metaworld'?"


def test_without_a_near_name_all_are_listed() -> None:
    assert unknown_name("verb", "zzz", ["a", "b"]) == "no verb 'zzz'. There are: a, b."
