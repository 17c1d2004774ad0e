"""Work on several threads: in order, bounded, and gone when it is over."""

from __future__ import annotations

import os
import threading
import time

import pytest

from adcli.parallel import batches, cores, portions, stream


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("adcli")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert our_threads() == []
    yield
    assert our_threads() == []


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_results_come_in_the_order_of_the_items(workers, count):
    def slow_first(number):
        time.sleep(0.002 * (count - number) / (count or 1))
        return number * number

    assert list(stream(range(count), slow_first, workers)) == [number * number for number in range(count)]


def test_work_is_done_side_by_side():
    """Two that wait for each other can only both end when both are under way."""
    meeting = threading.Barrier(2, timeout=10)
    assert sorted(stream(range(2), lambda _: meeting.wait(), 2)) == [0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_are_under_way_than_there_are_workers(workers):
    lock, under_way, most = threading.Lock(), [0], [0]

    def work(_):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.002)
        with lock:
            under_way[0] -= 1

    list(stream(range(30), work, workers))
    assert 1 <= most[0] <= workers


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_items_are_taken_only_as_results_are_consumed(workers):
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield number

    results = stream(source(), lambda number: number, workers)
    assert taken == []  # nothing begins before the first result is asked for
    for consumed in range(1, 20):
        next(results)
        time.sleep(0.001)
        assert len(taken) - consumed <= workers + 1
    results.close()


def test_an_exception_is_raised_where_the_result_would_have_been():
    done = []

    def work(number):
        if number == 5:
            raise KeyError("five")
        done.append(number)
        return number

    results = stream(range(100), work, 2)
    seen = []
    with pytest.raises(KeyError, match="five"):
        for result in results:
            seen.append(result)
    assert seen == [0, 1, 2, 3, 4]
    assert max(done) <= 5 + 3  # what had not begun is dropped
    with pytest.raises(StopIteration):
        next(results)


def test_an_early_exception_waits_for_earlier_results():
    def work(number):
        if number == 1:
            raise ValueError
        time.sleep(0.05)
        return number

    results = stream(range(3), work, 3)
    assert next(results) == 0
    with pytest.raises(ValueError):
        next(results)


def test_an_exception_of_the_source_is_raised():
    def source():
        yield from range(3)
        raise OSError("the list ends here")

    with pytest.raises(OSError, match="ends here"):
        list(stream(source(), lambda number: number, 2))


def test_closing_early_ends_the_threads_and_drops_what_has_not_begun():
    done = []

    def work(number):
        time.sleep(0.02)
        done.append(number)
        return number

    results = stream(range(1000), work, 1)
    assert next(results) == 0
    assert our_threads() != []
    results.close()
    assert our_threads() == []
    assert done in ([0], [0, 1])  # 2 was waiting
    time.sleep(0.03)
    assert done in ([0], [0, 1])


def test_leaving_a_loop_ends_the_threads():
    for result in stream(range(1000), lambda number: number, 3):
        if result == 2:
            break
    # The generator is closed as soon as nothing refers to it.
    assert our_threads() == []


def test_an_interrupt_ends_the_threads():
    def work(number):
        if number == 2:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        list(stream(range(100), work, 2))


def test_streams_can_be_nested():
    inner = lambda start: sum(stream(range(start, start + 5), lambda number: number, 2))  # noqa: E731
    assert list(stream(range(10), inner, 2)) == [5 * start + 10 for start in range(10)]


def test_batches_hold_all_items_in_order():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batches([], 3)) == []
    assert list(batches(iter("ab"), 1)) == [["a"], ["b"]]


def test_there_is_at_least_one_core_and_no_more_than_the_machine_has():
    assert 1 <= cores() <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_only_the_cores_given_to_the_process_count():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("count", [0, 1, 5, 16, 17, 160, 579])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_portions_hold_every_item_in_order_and_end_small(count, workers):
    found = list(portions(range(count), 16, workers))
    assert [item for portion in found for item in portion] == list(range(count))
    sizes = [len(portion) for portion in found]
    assert all(1 <= size <= 16 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert count == 0 or sizes[-1] <= 4
    assert count < 160 or workers > 2 or sizes[0] == 16


def test_portions_of_an_unknown_number_are_whole():
    assert [len(portion) for portion in portions(iter(range(37)), 16, 2)] == [16, 16, 5]
