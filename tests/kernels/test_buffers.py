"""Buffers that outlive a call: reused, cleared where promised, and let go of when there are too many."""

import numpy as np

from dyn3d_ns.kernels import buffers
from dyn3d_ns.kernels.buffers import Lease


def _idle_buffers():
    buffers._take_back()
    return sum(map(len, buffers._idle.values()))


def test_a_returned_buffer_is_used_again():
    lease = Lease()
    first = lease.empty((1000, 77))
    address = first.ctypes.data
    lease.release()
    again = Lease().empty((1000, 77))
    assert again.ctypes.data == address and again.shape == (1000, 77) and again.dtype == np.float32


def test_two_leases_share_nothing():
    one, two = Lease(), Lease()
    a, b = one.empty(5000), two.empty(5000)
    assert not np.shares_memory(a, b)


def test_cleared_buffers_are_zero_and_apart_from_the_others():
    lease = Lease()
    lease.empty(50_000)[:] = 7.0
    lease.release()
    assert not Lease().cleared(50_000).any()


def test_sizes_that_change_all_the_time_keep_a_bounded_number():
    """Also where buffers of a size have all been taken before others are let go of."""
    for k in range(1, 400):
        lease = Lease()
        for size in (3000 * k, 3000 * k, 4096):
            lease.empty(size)
        lease.release()
        if k % 7 == 0:
            held = [Lease() for _ in range(60)]
            for other in held:
                other.empty(1024)
            del held, other
        assert _idle_buffers() <= buffers._KEPT


def test_dropped_buffers_do_not_come_back():
    lease = Lease()
    lease.cleared(123_457)[:] = 1.0
    lease.drop()
    assert not Lease().cleared(123_457).any()
