/* Calls of a parent, a forked child, a thread, and of the program that replaces it. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static void ask(int key)
{
	shmget(key, 0, 0); /* ask */
}

static void *in_thread(void *unused)
{
	ask(3); /* thread */
	return unused;
}

int main(int count, char **arguments)
{
	if (count > 1) {
		ask(4); /* replaced */
		return 0;
	}
	ask(1); /* parent */
	if (fork() == 0) {
		ask(2); /* child */
		_exit(0);
	}
	wait(NULL);
	pthread_t thread;
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	execl(arguments[0], arguments[0], "again", NULL);
	return 1;
}
