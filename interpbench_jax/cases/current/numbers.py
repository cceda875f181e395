"""Tasks that apply a function to each number: an embedding and one MLP."""

import math

from interpbench_jax.cases.current.declaration import DIGITS, MANY_OUTPUTS, current_task
from interpbench_jax.rasp import Map, tokens

UNIT_INTERVAL = tuple(-1 + tenth / 10 for tenth in range(20))


def same(number: int) -> int:
    """The number itself."""
    return number


def absolute(number: int) -> int:
    """The absolute value."""
    return abs(number)


def negative(number: int) -> int:
    """The number negated."""
    return -number


def fibonacci(index: int) -> int:
    """The Fibonacci number with this index: 0, 1, 1, 2, 3, ..."""
    current, following = 0, 1
    for _ in range(index):
        current, following = following, current + following
    return current


def is_fibonacci(number: int) -> int:
    """1 for a Fibonacci number, else 0."""
    return int(any(fibonacci(index) == number for index in range(number + 2)))


def is_prime(number: int) -> int:
    """1 for a prime, else 0."""
    return int(number > 1 and all(number % divisor for divisor in range(2, number)))


def is_power_of_two(number: int) -> int:
    """1 for 2, 4, 8, ..., else 0; 1 does not count."""
    return int(number > 1 and number.bit_count() == 1)


def is_square(number: int) -> int:
    """1 for the square of an integer, else 0."""
    return int(math.isqrt(number) ** 2 == number)


def is_multiple_of_3(number: int) -> int:
    """1 for a multiple of 3, else 0."""
    return int(number % 3 == 0)


def down_to_multiple_of_3(number: int) -> int:
    """The largest multiple of 3 up to the number."""
    return number - number % 3


def up_to_multiple_of_3(number: int) -> int:
    """The smallest multiple of 3 from the number on."""
    return number + -number % 3


def cube_root(number: int) -> float:
    """The cube root."""
    return number ** (1 / 3)


def logarithm(number: int) -> float:
    """The logarithm to base 10."""
    return math.log(number, 10)


def square(number: int) -> int:
    """The square."""
    return number**2


def cube(number: int) -> int:
    """The third power."""
    return number**3


def round_half_up(number: float) -> int:
    """The nearest integer; the larger one where two are equally near."""
    return math.floor(number + 0.5)


def sign(number: int) -> int:
    """-1, 0 or 1."""
    return (number > 0) - (number < 0)


def is_at_least_3(number: int) -> int:
    """1 from 3 on, else 0."""
    return int(number >= 3)


def zero_below_3(number: int) -> int:
    """0 below 3, else the number itself."""
    return number if number >= 3 else 0


def count_prime_factors(number: int) -> int:
    """How many primes divide the number; 0 for 0."""
    return sum(is_prime(each) for each in range(2, number + 1) if number % each == 0)


def next_prime(number: int) -> int:
    """The smallest prime from the number on."""
    return number if is_prime(number) else next_prime(number + 1)


def reflect(number: int) -> int:
    """The number reflected at 2 and at 7 until it lies between them."""
    place = (number - 2) % 10
    return 2 + min(place, 10 - place)


TASKS = (
    current_task("8-current", "Each number unchanged.", Map(same, tokens)),
    current_task("41", "The absolute value of each number.", Map(absolute, tokens), range(-10, 10)),
    current_task("43", "The Fibonacci number of each index.", Map(fibonacci, tokens), range(20)),
    current_task("46", "Each number minus 1.", tokens - 1),
    current_task(
        "49", "The largest multiple of 3 up to each number.", Map(down_to_multiple_of_3, tokens)
    ),
    current_task("50", "The hyperbolic cosine of each number.", Map(math.cosh, tokens)),
    current_task(
        "51", "Whether each number is a Fibonacci number.", Map(is_fibonacci, tokens), range(100)
    ),
    current_task("52", "The square root of each number.", Map(math.sqrt, tokens)),
    current_task("54", "The hyperbolic tangent of each number.", Map(math.tanh, tokens)),
    current_task("55", "The hyperbolic sine of each number.", Map(math.sinh, tokens)),
    current_task("60", "Each number plus 1.", tokens + 1),
    current_task("62", "The factorial of each number.", Map(math.factorial, tokens)),
    current_task("64", "The cube of each number.", Map(cube, tokens)),
    current_task("65", "The cube root of each number.", Map(cube_root, tokens)),
    current_task(
        "66",
        "The integer nearest to each number, and of two the larger.",
        Map(round_half_up, tokens),
        [quarter / 4 for quarter in range(20)],
    ),
    current_task(
        "68", "The smallest multiple of 3 from each number on.", Map(up_to_multiple_of_3, tokens)
    ),
    current_task("69", "The sign of each number, none of which is negative.", Map(sign, tokens)),
    current_task("70", "The cosine of each number.", Map(math.cos, tokens)),
    current_task(
        "72", "Each number negated.", Map(negative, tokens), range(-10, 10), recipe=MANY_OUTPUTS
    ),
    current_task("73", "The sine of each number.", Map(math.sin, tokens)),
    current_task("75", "Twice each number.", tokens * 2),
    current_task("77", "The tangent of each number.", Map(math.tan, tokens)),
    current_task("79", "Whether each number is prime.", Map(is_prime, tokens)),
    current_task("80", "Each number minus 2.", tokens - 2),
    current_task("83", "Three times each number.", tokens * 3),
    current_task("84", "The arctangent of each number.", Map(math.atan, tokens)),
    current_task("85", "The square of each number.", Map(square, tokens)),
    current_task(
        "86", "Whether each number is 2, 4, 8 or a higher power of 2.", Map(is_power_of_two, tokens)
    ),
    current_task("87", "Whether each number is at least 3.", Map(is_at_least_3, tokens)),
    current_task("91", "Each number, or 0 for those below 3.", Map(zero_below_3, tokens)),
    current_task(
        "95", "How many primes divide each number.", Map(count_prime_factors, tokens), range(30)
    ),
    current_task("101", "Whether each number is a square.", Map(is_square, tokens), range(30)),
    current_task(
        "102",
        "Each number, reflected at 2 and at 7 until it lies between them.",
        Map(reflect, tokens),
        range(-20, 20),
    ),
    current_task("104", "The exponential of each number.", Map(math.exp, tokens)),
    current_task(
        "105", "The smallest prime from each number on.", Map(next_prime, tokens), range(30)
    ),
    current_task(
        "114", "The logarithm to base 10 of each number.", Map(logarithm, tokens), DIGITS[1:]
    ),
    current_task("121", "The arcsine of each number.", Map(math.asin, tokens), UNIT_INTERVAL),
    current_task("122", "Whether 3 divides each number.", Map(is_multiple_of_3, tokens), range(30)),
    current_task(
        "123",
        "The arccosine of each number.",
        Map(math.acos, tokens),
        UNIT_INTERVAL,
        recipe=MANY_OUTPUTS,
    ),
)
