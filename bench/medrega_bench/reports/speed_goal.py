"""A goal of speed or memory beside its figure, as a row of a table."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.performance.spread import Spread

DISTURBED = ", disturbed"  # behind a figure that was measured while something else ran


@dataclass(frozen=True)
class Goal:
    """One line of the table: a figure and the value that its median has to reach, or with `at_least` off not to exceed.

    A `disturbed` figure was measured on a machine that was not quiet; one that is not `of_time` cares little.
    """

    what: str
    goal: float
    at_least: bool
    figure: Spread
    form: str = "{:.2f}"
    of_time: bool = True
    disturbed: bool = False

    @property
    def line(self) -> str:
        """The row of the table; the range stands behind the median if there is one."""
        figure = self.form.format(self.figure.median)
        if self.figure.min != self.figure.max:
            figure += f" ({self.form.format(self.figure.min)} to {self.form.format(self.figure.max)})"
        figure += DISTURBED if self.disturbed else ""
        reached = self.figure.median >= self.goal if self.at_least else self.figure.median <= self.goal
        sign = ">=" if self.at_least else "<="
        return f"| {self.what} | {sign} {self.form.format(self.goal)} | {figure} | {'yes' if reached else '**no**'} |"
