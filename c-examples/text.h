/* What server.c and client.c share: the segment's key and layout. */
#ifndef TEXT_H
#define TEXT_H

#include <sys/ipc.h>
#include <sys/shm.h>

#define TEXT_PATH "." /* ftok makes the key of this directory */
#define TEXT_PROJ 'T'

struct text {
    volatile int ready; /* 1 once the text is there, 2 once it was read */
    char words[256];
};

#endif
