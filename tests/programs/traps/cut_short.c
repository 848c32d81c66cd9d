/* Somebody cuts the namespace's registry short, while threads of this process call.
 * Usage: cut_short DIRECTORY SIZE    (of the namespace; to so many bytes) */
#include "../trace.h"
#include <sys/resource.h>

static int shmid, finished;
static char *data;

/* Until it can't create any more, which it does under a lock. */
static void *create(void *argument)
{
	int made, key = 0x5e000080 + (int)(intptr_t)argument;
	while ((made = shmget(key, PAGE, IPC_CREAT | 0600)) != -1)
		shmctl(made, IPC_RMID, NULL);
	__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Until its calls begin to fail. */
static void *call(void *argument)
{
	(void)argument;
	struct shmid_ds ds;
	void *at = NULL;
	while (shmctl(shmid, IPC_STAT, &ds) == 0 && shmget(0x5e000077, 0, 0) == shmid && (at = shmat(shmid, NULL, 0)) != FAILED)
		shmdt(at);
	__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void calls(void)
{
	struct shmid_ds ds;
	T(shmget(0x5e000077, 0, 0));
	T(shmget(0x5e000078, PAGE, IPC_CREAT | 0600));
	T(shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600));
	T(shmctl(shmid, IPC_STAT, &ds));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmat(shmid, NULL, 0));
	printf("what is attached: %s\n", data);
}

int main(int argc, char **argv)
{
	const struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	if (argc != 3 || chdir(argv[1]) == -1)
		return 2;
	shmid = shmget(0x5e000077, PAGE, IPC_CREAT | 0600);
	data = shmat(shmid, NULL, 0);
	strcpy(data, "kept");
	pthread_t threads[4];
	for (int n = 0; n < 4; n++)
		pthread_create(&threads[n], NULL, n % 2 ? create : call, (void *)(intptr_t)n);
	pid_t other = fork(); /* it has the registry mapped too, and calls when that is gone */
	if (other == 0) {
		struct stat now;
		while (stat("registry", &now) == 0 && now.st_size != atol(argv[2]))
			usleep(100);
		calls();
		_exit(0);
	}
	if (truncate("registry", atol(argv[2])) == -1)
		return 2;
	ended("another process", other);
	for (int n = 0; n < 4; n++)
		pthread_join(threads[n], NULL);
	printf("threads that had an error: %d\n", finished);
	calls();
	pid_t child = fork();
	if (child == 0) {
		printf("in a child: %s\n", data);
		raise(SIGBUS);
	}
	ended("its own SIGBUS", child);
	T(shmdt(data));
	T(shmdt(data));
	return 0;
}
