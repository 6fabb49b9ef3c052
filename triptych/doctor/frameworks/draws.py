"""Dropout and noise that a user has written by hand, of random numbers that the framework draws.

A draw is followed from where its numbers are drawn to where they meet other numbers. ``rand() > p``
is a mask, and so are its copies in another form or dtype. Where it meets other numbers, its mean
takes its place. What else is done with a draw stays random.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

# Canonical names of the functions that are followed; an adapter has a table of its framework's.
COMPARISONS = frozenset({"gt", "ge", "lt", "le"})
ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "rdiv"})


@dataclass(frozen=True)
class Draw:
    """What is known of a random tensor.

    Attributes
    ----------
    source : str
        The function that drew it, as users write it.
    number : int
        Which draw of the pass it comes from.
    low, high : float
        Its numbers are evenly distributed between these.
    share : float or None
        Of a mask, the share of ones; None if it is none.
    replaced : bool
        Whether its mean takes its place; otherwise it stays random.
    """

    source: str
    number: int
    low: float = 0.0
    high: float = 1.0
    share: float | None = None
    replaced: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the dropout, or of the noise, that it is drawn for."""
        if not self.replaced:
            return {"active": True, "random": True}
        if self.share is None:
            return {"active": True}
        return {"rate": 1 - self.share, "active": True}

    def mask(self, share: float) -> "Draw":
        """Return the draw as a mask with this share of ones."""
        return replace(self, share=min(max(share, 0.0), 1.0))

    def above(self, threshold: float) -> float:
        """Return the share of its numbers that are above a threshold."""
        return (self.high - threshold) / (self.high - self.low)


class Draws:
    """What is known of the random tensors of one forward pass.

    Parameters
    ----------
    is_tensor, is_floating : callable
        Whether a value is a tensor; whether a tensor is a floating one.
    filled : callable
        Takes a tensor, a number and a floating tensor or None. Returns the tensor with the number
        everywhere, in its own dtype if it is floating, else in that of the other tensor, or in the
        usual one.
    tell : callable
        Called with each draw for which its mean is taken, once.
    """

    def __init__(
        self,
        is_tensor: Callable[[Any], bool],
        is_floating: Callable[[Any], bool],
        filled: Callable[[Any, float, Any], Any],
        tell: Callable[[Draw], None],
    ) -> None:
        self._is_tensor = is_tensor
        self._is_floating = is_floating
        self._filled = filled
        self._tell = tell
        self._told: set[tuple[str, int]] = set()
        self._count = 0
        # By the ids of tensors, which are kept so that no other one gets its id.
        self._known: dict[int, tuple[Any, Draw]] = {}

    def of(self, value: Any) -> Draw | None:
        """Return what is known of a value."""
        known = self._known.get(id(value))
        return known[1] if known and known[0] is value else None

    def drawn(self, source: str, tensor: Any, low: float = 0.0, high: float = 1.0) -> None:
        """Note that numbers were drawn evenly."""
        self._count += 1
        if high > low and self._is_floating(tensor):
            self.note(tensor, Draw(source, self._count, low, high))

    def told(self, source: str, share: float | None = None) -> None:
        """Tell of numbers that were drawn and are their mean already: a mask's, or noise."""
        self._count += 1
        self._tell(Draw(source, self._count, share=share))

    def arguments(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a function, with the means of masks that meet other numbers.

        It is the same tuple if no argument is a draw.
        """
        if name not in ARITHMETIC or not any(self.of(each) for each in args):
            return args
        others = [each for each in args if self._is_tensor(each) and not self.of(each)]
        return tuple(self._met(each, others) for each in args)

    def blended(self, name: str, args: Sequence[Any]) -> Any:
        """Return the mean of what a mask chooses from; None if no known mask chooses."""
        if name == "masked_fill" and len(args) == 3:
            args = (args[1], args[2], args[0])
        elif name != "where" or len(args) != 3:
            return None
        draw = self.of(args[0])
        if draw is None or draw.share is None or not all(map(self._is_finite, args[1:])):
            return None
        # Where a number, such as 0, replaces what the mask chooses, the rest is kept.
        kept = draw.share if self._is_tensor(args[1]) else 1 - draw.share
        self._tell_once(draw.mask(kept))
        return args[1] * draw.share + args[2] * (1 - draw.share)

    def taken(self, draw: Draw, made: Any) -> Any:
        """Note a tensor that was made of random numbers of another kind; return what replaces it.

        Parameters
        ----------
        draw : Draw
            What is known of these numbers.
        made : tensor
            The tensor; a floating one that was made of a mask holds its mean.
        """
        if draw.share is not None and self._is_floating(made):
            self._tell_once(draw)
            return self._filled(made, draw.share, None)
        self.note(made, draw)
        return made

    def result(self, name: str, args: Sequence[Any], made: Any) -> Any:
        """Note what a function has made of draws; return what takes the place of it."""
        if not self._is_tensor(made) or not any(self.of(each) for each in args):
            return made
        draw = self._followed(name, args)
        if draw is None:
            return made
        source = args[0]
        cast = name == "move" and not self._is_floating(source) and self._is_floating(made)
        if cast and draw.share is not None:
            self._tell_once(draw)
            return self._filled(made, draw.share, None)
        self.note(made, draw)
        return made

    def note(self, tensor: Any, draw: Draw) -> None:
        """Note what a tensor holds."""
        self._known[id(tensor)] = (tensor, draw)

    def forget(self, tensor: Any) -> None:
        """Forget what a tensor held, because other numbers were written into it."""
        self._known.pop(id(tensor), None)

    def _tell_once(self, draw: Draw) -> None:
        if (draw.source, draw.number) not in self._told:
            self._told.add((draw.source, draw.number))
            self._tell(draw)

    def _met(self, value: Any, others: Sequence[Any]) -> Any:
        """Return an argument; of a mask its mean."""
        draw = self.of(value)
        if draw is None or draw.share is None:
            return value
        like = next(filter(self._is_floating, others), None)
        self._tell_once(draw)
        self._known.pop(id(value))
        return self._filled(value, draw.share, like)

    def _is_finite(self, value: Any) -> bool:
        return self._is_tensor(value) or isfinite(value)

    def _followed(self, name: str, args: Sequence[Any]) -> Draw | None:
        """Return what is known of what a function makes of a draw; None if nothing is."""
        draws = [draw for each in args if (draw := self.of(each))]
        draw = draws[0]
        if len(draws) > 1:
            return None
        if name == "move":
            return draw
        if name == "not" and draw.share is not None:
            return draw.mask(1 - draw.share)
        if draw.share is not None:
            return None
        if name == "floor" and 0 <= draw.low < 1 <= draw.high <= 2:
            return draw.mask(draw.above(1.0))
        numbers = [each for each in args if isinstance(each, (int, float))]
        if len(numbers) != 1 or len(args) < 2:
            return None
        first = self.of(args[0]) is not None
        if name in COMPARISONS:
            above = draw.above(numbers[0])
            return draw.mask(above if (name[0] == "g") == first else 1 - above)
        return _moved(draw, name, numbers[0], first=first)


def _moved(draw: Draw, name: str, number: float, *, first: bool) -> Draw | None:
    """Return evenly distributed numbers after arithmetic with one number."""
    if name in ("sub", "div") and not first:
        name = f"r{name}"
    compute: dict[str, Callable[[float], float]] = {
        "add": lambda each: each + number,
        "sub": lambda each: each - number,
        "rsub": lambda each: number - each,
        "mul": lambda each: each * number,
        "div": lambda each: each / number,
    }
    if name not in compute or (name in ("mul", "div") and number == 0):
        return None
    ends = sorted(compute[name](each) for each in (draw.low, draw.high))
    return replace(draw, low=ends[0], high=ends[1])
