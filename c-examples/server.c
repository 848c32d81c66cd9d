/*
 * A server as one finds them: it makes a segment under a key from ftok, writes a text into it, waits until a client has read
 * it, and removes the segment. With a number as argument it first fills as many further segments of 1 MiB, and keeps them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text.h"

static void grab(int count)
{
    for (int i = 0; i < count; i++) {
        int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
        if (id == -1) {
            perror("server: one more MiB");
            return;
        }
    }
}

int main(int argc, char **argv)
{
    key_t key = ftok(TEXT_PATH, TEXT_PROJ);
    int id = shmget(key, sizeof(struct text), IPC_CREAT | IPC_EXCL | 0600);
    if (id == -1) {
        perror("server: shmget");
        return 1;
    }
    struct text *text = shmat(id, NULL, 0);
    if (text == (void *)-1) {
        perror("server: shmat");
        shmctl(id, IPC_RMID, NULL);
        return 1;
    }
    if (argc > 1)
        grab(atoi(argv[1]));
    strcpy(text->words, "the quick brown fox");
    __atomic_store_n(&text->ready, 1, __ATOMIC_RELEASE);
    /* Ten seconds for the client. */
    for (int i = 0; i < 1000 && __atomic_load_n(&text->ready, __ATOMIC_ACQUIRE) != 2; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    int read = text->ready == 2;
    shmdt(text);
    shmctl(id, IPC_RMID, NULL);
    puts(read ? "server: the client has read the text" : "server: no client came");
    return read ? 0 : 1;
}
