/* The C API's defined answers: NULL, small buffers, wrong arguments, any thread, errno. Exits 0 if all are as the header says. */
#include <errno.h>
#include <pthread.h>
#include <shmgate.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static int failed;

#define CHECK(condition)                                                    \
	do {                                                                \
		if (!(condition)) {                                         \
			printf("line %d: %s\n", __LINE__, #condition);      \
			failed = 1;                                         \
		}                                                           \
	} while (0)

/* SHMGATE_POLICY allows a segment of 64 KiB at the most. */
static void deny(void)
{
	CHECK(shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600) == -1 && errno == EINVAL);
}

static void *other_thread(void *unused)
{
	char reason[200];

	CHECK(shmgate_last_denial(reason, sizeof reason) == 0 && reason[0] == 0);
	deny();
	CHECK(shmgate_last_denial(reason, sizeof reason) == strlen(reason) && strlen(reason) > 0);
	return unused;
}

int main(void)
{
	struct shmgate_counters before, after;
	char reason[200] = "x", small[8];
	pthread_t thread;

	CHECK(strcmp(shmgate_version(), VERSION) == 0);
	CHECK(strcmp(shmgate_backend(), "kernel") == 0);

	errno = 4711;
	CHECK(shmgate_last_denial(NULL, 0) == 0 && shmgate_last_denial(reason, sizeof reason) == 0 && reason[0] == 0);
	CHECK(shmgate_counters(SHMGATE_PROCESS, &before) == 0 && before.calls == 0 && before.denials == 0);
	CHECK(errno == 4711);

	errno = 0;
	CHECK(shmgate_counters(SHMGATE_PROCESS, NULL) == -1 && errno == EFAULT);
	CHECK(shmgate_counters(7, &after) == -1 && errno == EINVAL);
	CHECK(shmgate_counters(-1, NULL) == -1 && errno == EINVAL);
	CHECK(shmgate_counters(SHMGATE_SESSION, &after) == -1 && errno == ENOENT);

	deny();
	size_t length = shmgate_last_denial(reason, sizeof reason);
	CHECK(length == strlen(reason) && strstr(reason, "segment size: 1 MiB asked, at most 64 KiB allowed"));
	memset(small, 'y', sizeof small);
	CHECK(shmgate_last_denial(small, sizeof small) == length && strlen(small) == 7 && memcmp(small, reason, 7) == 0);
	CHECK(shmgate_last_denial(small, 1) == length && small[0] == 0);
	small[0] = 'y';
	CHECK(shmgate_last_denial(small, 0) == length && small[0] == 'y');
	CHECK(shmgate_last_denial(NULL, 100) == length);

	CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);

	int id = shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600);
	void *memory = shmat(id, NULL, 0);
	CHECK(shmgate_counters(SHMGATE_PROCESS, &after) == 0);
	CHECK(after.calls == 4 && after.denials == 2 && after.segments == 1 && after.bytes == 8192 && after.attaches == 1);
	CHECK(shmdt(memory) == 0 && shmctl(id, IPC_RMID, NULL) == 0);
	CHECK(shmgate_counters(SHMGATE_PROCESS, &after) == 0);
	CHECK(after.calls == 6 && after.denials == 2 && after.segments == 0 && after.bytes == 0 && after.attaches == 0);

	char path[5000];
	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = 0;
	CHECK(shmgate_log("") == -1 && errno == EINVAL);
	CHECK(shmgate_log(path) == -1 && errno == ENAMETOOLONG);
	CHECK(shmgate_log("off") == 0 && shmgate_log(NULL) == 0);
	return failed;
}
