/*
 * A program that comes from AIX: its shmget asks for large pages, pinned, at an address that suits the largest.
 *
 *     cc aix.c $(pkg-config --cflags --libs shmgate)      # or plainly, and: shmgate run -- ./a.out
 *
 * They are wishes. Without shmgate Linux ignores them; with it they are fulfilled where the machine allows, and nothing fails where not.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include <shmgate.h>

#define SIZE (3 << 20)

static int try(const char *name, int words)
{
    int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600 | words);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    struct shmid_ds about;
    char *memory = shmat(id, NULL, 0);
    int failed = memory == (void *)-1 || shmctl(id, IPC_STAT, &about) == -1;
    if (failed) {
        perror("shmat");
    } else {
        memset(memory, 1, SIZE);
        int is_aligned = (uintptr_t)memory % (2 << 20) == 0;
        printf("%s: %s pages, %s address\n", name, about.shm_perm.mode & SHM_LOCKED ? "pinned" : "ordinary",
               words & (SHM_LGPAGE | SHM_HGSEG) && is_aligned ? "an aligned" : "any");
        shmdt(memory);
    }
    shmctl(id, IPC_RMID, NULL);
    return failed;
}

int main(void)
{
    int failed = try("SHM_LGPAGE", SHM_LGPAGE);
    failed |= try("SHM_PIN", SHM_PIN);
    failed |= try("SHM_HGSEG", SHM_HGSEG);
    failed |= try("all", SHM_LGPAGE | SHM_PIN | SHM_HGSEG);
    return failed | try("none", 0);
}
