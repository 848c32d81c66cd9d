/* Attaches the segment that server.c makes, and reads the text in it. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "text.h"

int main(void)
{
    key_t key = ftok(TEXT_PATH, TEXT_PROJ);
    int id = -1;
    /* The server may still be starting. */
    for (int i = 0; i < 500 && id == -1; i++) {
        id = shmget(key, 0, 0600);
        if (id == -1 && errno != ENOENT)
            break;
        if (id == -1)
            nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    if (id == -1) {
        perror("client: shmget");
        return 1;
    }
    struct text *text = shmat(id, NULL, 0);
    if (text == (void *)-1) {
        perror("client: shmat");
        return 1;
    }
    while (__atomic_load_n(&text->ready, __ATOMIC_ACQUIRE) != 1)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    printf("client: \"%s\"\n", text->words);
    __atomic_store_n(&text->ready, 2, __ATOMIC_RELEASE);
    shmdt(text);
    return 0;
}
