"""tools/train_hosts.py on CPUs: it averages gradients over local sockets where NCCL would over GPUs.

    RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 python tests/host_mean.py --solver ...
"""

import os
import socket
import time
from multiprocessing.connection import Client, Listener

import numpy as np

from stal.errors import run
from stal.hosts import UID_BYTES
from tools.train_hosts import main


class CpuMean:
    """Stands in for stal.hosts.NcclMean. The id holds rank 0's port, and after it a zero byte as NCCL's do."""

    def require(self):
        """There is nothing that it needs."""

    def new_id(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        return str(port).encode().ljust(UID_BYTES, b"\0")

    def use_device(self, device):
        import caffe
        caffe.set_mode_cpu()

    def join(self, solver, uid):
        import caffe
        size, rank = caffe.solver_count(), caffe.solver_rank()
        address = "127.0.0.1", int(uid.rstrip(b"\0"))
        blobs = [blob for layer in solver.net.params.values() for blob in layer]
        others = []
        if rank == 0:
            with Listener(address, backlog=size) as listener:
                others = [listener.accept() for _ in range(size - 1)]
        else:
            others = [_connect(address)]
        self._share(rank, others, [blob.data for blob in blobs], 1)
        solver.add_callback(lambda: None, lambda: self._share(rank, others, [blob.diff for blob in blobs], size))
        return others

    def _share(self, rank, others, arrays, size):
        """All get rank 0's arrays, or with ``size`` > 1 the mean of all processes'."""
        for array in arrays:
            if rank:
                if size > 1:
                    others[0].send_bytes(np.ascontiguousarray(array).tobytes())
                array[...] = np.frombuffer(others[0].recv_bytes(), np.float32).reshape(array.shape)
                continue
            if size > 1:
                array += sum(np.frombuffer(other.recv_bytes(), np.float32).reshape(array.shape) for other in others)
                array /= size
            for other in others:
                other.send_bytes(np.ascontiguousarray(array).tobytes())


def _connect(address):
    while True:
        try:
            return Client(address)
        except ConnectionRefusedError:
            time.sleep(0.05)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(lambda: main(mean=CpuMean()))
