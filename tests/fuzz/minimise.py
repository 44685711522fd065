"""What of a mutated file is needed to make its reader crash or hang."""

from collections.abc import Callable

_TRIES = 100


def minimised(data: bytes, sound: bytes, is_bad: Callable[[bytes], bool]) -> bytes:
    """Returns ``data`` with as many bytes as can be put back to what they were.

    Args:
        data: A bad file.
        sound: The file that it was; where the lengths differ, nothing is put back.
        is_bad: Whether a file is as bad; asked at most 100 times.
    """
    if len(data) != len(sound):
        return data
    changed = [k for k in range(len(data)) if data[k] != sound[k]]
    step, tries = len(changed), 0
    while step and tries < _TRIES:
        for start in range(0, len(changed), step):
            fewer = changed[:start] + changed[start + step :]
            tries += 1
            if is_bad(_with(sound, data, fewer)):
                changed = fewer
                break
        else:
            step //= 2
    return _with(sound, data, changed)


def _with(sound: bytes, data: bytes, places: list[int]) -> bytes:
    mixed = bytearray(sound)
    for place in places:
        mixed[place] = data[place]
    return bytes(mixed)
