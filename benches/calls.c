/*
 * What System V shared memory calls cost, measured inside one process.
 *
 *     calls measure BATCH           prints "name ns" for each measurement: the median over rounds of a call's mean time in a round
 *     calls among OTHERS BATCH NAME prints it for one, with the segment attached in OTHERS other processes
 *     calls loop NAME COUNT         makes one measurement's calls COUNT times and says nothing, for counting and profiling
 *     calls fill COUNT              makes COUNT segments under keys of their own, and leaves them there
 *
 * A round makes BATCH of the cheapest calls (fewer of the dear ones), so that what happens once in thousands of calls, as a
 * journal's growth does, is in every round's mean and not hidden by the median. One round before those that count warms up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 3, SIZE = 4096 };

static key_t key;
static volatile int held = -1; /* the segment under `key` */
static volatile int made = -1; /* the one that a round has just made */

static void clean_up(void) {
    int saved = errno;
    if (made != -1)
        shmctl(made, IPC_RMID, NULL);
    if (held != -1)
        shmctl(held, IPC_RMID, NULL);
    made = held = -1;
    errno = saved;
}

static void interrupted(int signal_number) {
    clean_up();
    _exit(128 + signal_number);
}

static void fail(const char *what) {
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void look_up(void) {
    if (shmget(key, 0, 0) == -1)
        fail("shmget");
}

static void look_up_to_write(void) {
    if (shmget(key, 0, 0600) == -1)
        fail("shmget with 0600");
}

static void look_up_or_create(void) {
    if (shmget(key, SIZE, IPC_CREAT | 0600) == -1)
        fail("shmget with IPC_CREAT");
}

/* With what is below it (this function's caller, round_ns, main and three of libc's) it makes eight frames, or nine. */
__attribute__((noinline)) static int descend(int depth) {
    int result = depth > 0 ? descend(depth - 1) : shmget(key, 0, 0);
    __asm__ volatile("" : "+r"(result)); /* no jump instead of the call */
    return result;
}

static void look_up_in_depth(void) {
    if (descend(1) == -1)
        fail("shmget");
}

static void stat_segment(void) {
    struct shmid_ds about;
    if (shmctl(held, IPC_STAT, &about) == -1)
        fail("IPC_STAT");
}

static void attach_detach(void) {
    void *place = shmat(held, NULL, 0);
    if (place == (void *)-1)
        fail("shmat");
    if (shmdt(place) == -1)
        fail("shmdt");
}

static void create(void) {
    made = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
    if (made == -1)
        fail("shmget with IPC_PRIVATE");
}

static void remove_made(void) {
    if (shmctl(made, IPC_RMID, NULL) == -1)
        fail("IPC_RMID");
    made = -1;
}

static void create_remove(void) {
    create();
    remove_made();
}

static void whole_life(void) {
    create();
    char *place = shmat(made, NULL, 0);
    if (place == (void *)-1)
        fail("shmat");
    *(volatile char *)place = 1;
    remove_made();
    if (shmdt(place) == -1)
        fail("shmdt");
}

static const struct measurement {
    const char *name;
    void (*run)(void);
    int share; /* a round makes BATCH / share of them */
} measurements[] = {
    {"shmget", look_up, 1},
    {"shmget-0600", look_up_to_write, 1},
    {"shmget-creat", look_up_or_create, 1},
    {"shmget-deep", look_up_in_depth, 1},
    {"ipc-stat", stat_segment, 1},
    {"attach-detach", attach_detach, 4},
    {"create-remove", create_remove, 16},
    {"whole-life", whole_life, 16},
};
enum { MEASUREMENTS = sizeof measurements / sizeof *measurements };

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static double round_ns(const struct measurement *what, long count) {
    double start = now_ns();
    for (long i = 0; i < count; i++)
        what->run();
    return (now_ns() - start) / count;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void measure(const struct measurement *what, long batch) {
    double rounds[ROUNDS];
    long count = batch / what->share > 0 ? batch / what->share : 1;
    round_ns(what, count);
    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = round_ns(what, count);
    qsort(rounds, ROUNDS, sizeof *rounds, ascending);
    printf("%s %.2f\n", what->name, rounds[ROUNDS / 2]);
}

static void make_segment(void) {
    srand((unsigned)getpid() ^ (unsigned)time(NULL));
    do {
        key = 0x62000000 | (rand() & 0xffffff);
        held = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600);
    } while (held == -1 && errno == EEXIST);
    if (held == -1)
        fail("cannot make a segment");
}

static const struct measurement *named(const char *name) {
    for (int i = 0; i < MEASUREMENTS; i++)
        if (strcmp(measurements[i].name, name) == 0)
            return &measurements[i];
    fprintf(stderr, "calls: no measurement is called %s\n", name);
    exit(2);
}

/* Processes that have the segment attached, until we are gone. */
static void attach_in_others(long others) {
    void *place = shmat(held, NULL, 0);
    if (place == (void *)-1)
        fail("shmat");
    pid_t parent = getpid();
    for (long i = 0; i < others; i++) {
        pid_t pid = fork();
        if (pid == -1)
            fail("fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (getppid() == parent)
                pause();
            _exit(0);
        }
    }
    if (shmdt(place) == -1)
        fail("shmdt");
    struct shmid_ds about;
    if (shmctl(held, IPC_STAT, &about) == -1)
        fail("IPC_STAT");
    if ((long)about.shm_nattch != others) {
        fprintf(stderr, "calls: %ld attaches, expected %ld\n", (long)about.shm_nattch, others);
        exit(1);
    }
}

static void fill(long count) {
    for (long i = 0; i < count; i++)
        if (shmget(0x61000000 + (key_t)i, SIZE, IPC_CREAT | IPC_EXCL | 0600) == -1)
            fail("shmget");
}

int main(int argc, char **argv) {
    struct sigaction on_signal = {.sa_handler = interrupted};
    sigaction(SIGINT, &on_signal, NULL);
    sigaction(SIGTERM, &on_signal, NULL);
    sigaction(SIGHUP, &on_signal, NULL);
    atexit(clean_up);
    if (argc == 3 && strcmp(argv[1], "measure") == 0) {
        make_segment();
        for (int i = 0; i < MEASUREMENTS; i++)
            measure(&measurements[i], atol(argv[2]));
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "among") == 0) {
        make_segment();
        attach_in_others(atol(argv[2]));
        measure(named(argv[4]), atol(argv[3]));
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "loop") == 0) {
        make_segment();
        round_ns(named(argv[2]), atol(argv[3]));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "fill") == 0) {
        fill(atol(argv[2]));
        return 0;
    }
    fprintf(stderr, "usage: calls measure BATCH | calls among OTHERS BATCH NAME | calls loop NAME COUNT | calls fill COUNT\n");
    return 2;
}
