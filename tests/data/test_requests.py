from memplus.data.requests import make_requests


def test_requests_follow_from_their_seed_and_are_of_many_kinds() -> None:
    made = make_requests("a", 200)
    assert made == make_requests("a", 200)
    assert made != make_requests("b", 200)
    assert len(set(made)) > 100
    assert {one.split()[0] for one in made} >= {"What", "How", "Subtract", "Write", "Tell", "Give"}
