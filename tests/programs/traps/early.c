/* Calls before any constructor of a library has run: the executable's preinit functions come first. Then from main,
 * and at the end from exit handlers and destructors. */
#include "../trace.h"

static long early = -2;

static void before_constructors(void)
{
	early = shmget(0x5e000050, PAGE, IPC_CREAT | 0600);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_constructors;

static void at_exit(void)
{
	if (shmget(0x5e000053, PAGE, 0600) != -1 || errno != ENOENT)
		abort();
}

__attribute__((destructor)) static void destructor(void)
{
	shmget(0x5e000054, PAGE, 0600);
	shmctl((int)early, IPC_RMID, NULL);
}

static void thread_ends(void *unused)
{
	(void)unused;
	shmget(0x5e000055, PAGE, 0600);
}

static void *thread(void *key)
{
	pthread_setspecific(*(pthread_key_t *)key, key);
	return NULL;
}

int main(void)
{
	pthread_key_t key;
	pthread_t id;
	atexit(at_exit);
	pthread_key_create(&key, thread_ends);
	pthread_create(&id, NULL, thread, &key);
	pthread_join(id, NULL);
	printf("early: %s\n", early >= 0 ? "ok" : "failed");
	printf("main's: %d\n", shmget(0x5e000050, 0, 0) == early);
	return 0;
}
