/*
 * A program that links -lshmgate: its calls are gated without LD_PRELOAD, and it can ask what came of them.
 *
 *     cc counters.c $(pkg-config --cflags --libs shmgate)
 *     SHMGATE_POLICY=limits.toml ./a.out
 */
#include <shmgate.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
    printf("shmgate %s, backend %s\n", shmgate_version(), shmgate_backend());
    shmgate_log("stderr");
    int id = shmget(IPC_PRIVATE, 100000, IPC_CREAT | 0600);
    if (id == -1) {
        char reason[200];
        if (shmgate_last_denial(reason, sizeof reason) > 0)
            printf("denied: %s\n", reason);
        else
            perror("shmget");
    } else {
        void *memory = shmat(id, NULL, 0);
        if (memory != (void *)-1) {
            memset(memory, 1, 100000);
            shmdt(memory);
        }
        shmctl(id, IPC_RMID, NULL);
    }
    shmgate_log(NULL);
    struct shmgate_counters counters;
    if (shmgate_counters(SHMGATE_PROCESS, &counters) == 0)
        printf("%llu calls, %llu denied\n", (unsigned long long)counters.calls, (unsigned long long)counters.denials);
    return 0;
}
