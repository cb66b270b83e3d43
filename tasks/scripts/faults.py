"""What is wrong with a script: every fault with its place and fix, told at once, and no more of them than somebody can read."""

from infra.errors import ManifestError

MOST_FAULTS, SHOWN = 1000, 20  # kept, and told in the message


class BadTime(ValueError):
    """A time that cannot be read: what is wrong with it, and the fix."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, fix


class Faults:
    """Faults of one script, in the order in which they were found."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.count = 0

    def add(self, where: str, problem: str, fix: str) -> None:
        """One fault: the line, row or place; what is wrong; what to do."""
        self.count += 1
        if len(self.rows) < MOST_FAULTS:
            self.rows.append((where, problem, fix))

    def end(self) -> None:
        """Raise ManifestError with all of them, where there is one."""
        if not self.rows:
            return
        faults = [{"row": "script", "field": where, "problem": problem, "fix": fix} for where, problem, fix in self.rows]
        text = "; ".join(f"{where}: {problem}" for where, problem, _ in self.rows[:SHOWN])
        more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
        raise ManifestError(f"the script has {self.count} fault(s): {text}{more}", code="script.invalid", faults=faults, next_step=self.rows[0][2] + ".")


def refused(where: str, problem: str, fix: str) -> ManifestError:
    """The error of a script with one fault that ends all reading."""
    faults = Faults()
    faults.add(where, problem, fix)
    try:
        faults.end()
    except ManifestError as error:
        return error
    raise AssertionError
