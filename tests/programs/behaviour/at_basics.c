/* Attach twice, share data, read-only attaches. */
#include "trace.h"

static void touch(const char *text, volatile char *at, int writes)
{
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		char byte = *at;
		if (writes)
			*at = byte;
		_exit(0);
	}
	ended(text, pid);
}

int main(void)
{
	int shmid = private_segment(2 * PAGE, 0600);
	char *one = TP(shmat(shmid, NULL, 0));
	char *two = TP(shmat(shmid, NULL, 0));
	char *read_only = TP(shmat(shmid, NULL, SHM_RDONLY));
	printf("elsewhere each: %d, aligned: %d\n", one != two && two != read_only, (uintptr_t)one % PAGE == 0);
	printf("zeroed: %d\n", one[0] == 0 && one[2 * PAGE - 1] == 0);
	strcpy(one + 5000, "shared");
	printf("%s, %s\n", two + 5000, read_only + 5000);
	show("three attaches", shmid);
	touch("read from a read-only attach", read_only, 0);
	touch("write to a read-only attach", read_only, 1);
	T(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE));
	touch("write after mprotect", read_only, 1);
	T(shmdt(two));
	touch("read after detach", two, 0);
	T(shmdt(read_only));
	show("one attach", shmid);
	T(shmdt(one));
	show("none", shmid);
	one = TP(shmat(shmid, NULL, 0));
	printf("data stays: %s\n", one + 5000);
	T(shmdt(one));
	/* bits nobody knows, and SHM_EXEC */
	one = TP(shmat(shmid, NULL, 0x100000));
	T(shmdt(one));
	one = TP(shmat(shmid, NULL, SHM_EXEC));
	T(shmdt(one));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
