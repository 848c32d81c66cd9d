"""Python's sysv_ipc: a segment made, shared with a second process, attached again, changed, removed."""
import os
import subprocess
import sys

import sysv_ipc


def reader(key):
    """The second process: what the first wrote, read-only and then with an answer."""
    memory = sysv_ipc.SharedMemory(key)
    memory.detach()
    memory.attach(flags=sysv_ipc.SHM_RDONLY)
    print("reader reads:", memory.read(5).decode())
    memory.detach()
    memory.attach()
    memory.write(b"HELLO", offset=4096)
    memory.detach()


def owner():
    key = sysv_ipc.ftok(os.getcwd(), 42, silence_warning=True)
    memory = sysv_ipc.SharedMemory(key, sysv_ipc.IPC_CREX, mode=0o600, size=10000)
    memory.write(b"hello")
    print("attached:", memory.number_attached, "size:", memory.size, "mode: %o" % memory.mode)

    subprocess.run([sys.executable, __file__, str(key)], check=True)
    print("owner reads:", memory.read(5, 4096).decode())

    same = sysv_ipc.SharedMemory(key, sysv_ipc.IPC_CREAT, size=10000)
    print("the same:", same.id == memory.id, "attached:", memory.number_attached)
    same.detach()
    by_id = sysv_ipc.attach(memory.id)
    print("by id:", by_id.read(5).decode())
    by_id.detach()

    created = sysv_ipc.SharedMemory(key + 1, sysv_ipc.IPC_CREAT, size=4096)
    created.detach()
    created.remove()
    try:
        sysv_ipc.SharedMemory(key, sysv_ipc.IPC_CREX)
    except sysv_ipc.ExistentialError as error:
        print("exists:", error)

    memory.mode = 0o640
    print("mode: %o" % memory.mode)
    memory.detach()
    memory.remove()
    try:
        sysv_ipc.SharedMemory(key)
    except sysv_ipc.ExistentialError as error:
        print("gone:", error)


if len(sys.argv) > 1:
    reader(int(sys.argv[1]))
else:
    owner()
