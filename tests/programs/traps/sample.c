/* One call of each form, for the lines of log and journal. Prints what differs from run to run: pid, tid, ids, addresses. */
#include "../trace.h"
#include <sys/syscall.h>

static void *in_thread(void *shmid)
{
	printf("tid %ld\n", (long)syscall(SYS_gettid));
	shmctl(*(int *)shmid, IPC_RMID, NULL);
	return NULL;
}

int main(void)
{
	struct shmid_ds ds;
	pthread_t thread;
	key_t key = ftok("/", 'S');
	int shmid = shmget(0x5e000071, 5000, IPC_CREAT | IPC_EXCL | 0640);
	void *at = shmat(shmid, NULL, SHM_RDONLY);
	shmctl(shmid, IPC_STAT, &ds);
	ds.shm_perm.mode = 0600;
	shmctl(shmid, IPC_SET, &ds);
	shmdt(at);
	shmdt(at);
	shmget(IPC_PRIVATE, 0, 0);
	ftok(NULL, 1);
	printf("pid %d\nkey %#010x\nshmid %d\nat %p\nbuf %p\n", getpid(), (unsigned)key, shmid, at, (void *)&ds);
	pthread_create(&thread, NULL, in_thread, &shmid);
	pthread_join(thread, NULL);
	return 0;
}
