"""torchattacks as in `attacks`, the model under autocast to bfloat16."""

from peers import attacks

load = attacks.load


def prepare(problem):
    return attacks.prepare(problem, autocast=True)
