/* How often calls allocate, in a thread that never made one before: a signal handler in the middle of malloc can't. */
#include "../trace.h"

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static volatile long allocations;

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	allocations++;
	return __libc_realloc(old, size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
	allocations++;
	*place = __libc_memalign(alignment, size);
	return *place ? 0 : ENOMEM;
}

static void calls(void)
{
	struct shmid_ds ds;
	int shmid = shmget(IPC_PRIVATE, PAGE, 0600);
	void *at = shmat(shmid, NULL, 0);
	shmctl(shmid, IPC_STAT, &ds);
	shmctl(shmid, IPC_SET, &ds);
	shmdt(at);
	shmctl(shmid, IPC_RMID, NULL);
	shmget(0x5e000079, PAGE, 0600);
	shmget(IPC_PRIVATE, (size_t)1 << 40, 0600); /* denied, where there is a quota */
}

static void *thread(void *result)
{
	allocations = 0;
	for (int i = 0; i < 1000; i++)
		calls();
	*(long *)result = allocations;
	return NULL;
}

int main(void)
{
	long result = -1;
	pthread_t id;
	calls();
	pthread_create(&id, NULL, thread, &result);
	pthread_join(id, NULL);
	printf("allocations: %ld\n", result);
	return 0;
}
