/* kernel.shm_rmid_forced, where we may set it: the detach to zero destroys, and the creator's exit. */
#include "trace.h"

int main(void)
{
	int fd = geteuid() ? -1 : open("/proc/sys/kernel/shm_rmid_forced", O_WRONLY);
	if (fd == -1 || write(fd, "1", 1) != 1) {
		puts("not ours to change");
		return 0;
	}
	int shmid = (int)T(shmget(0x5e000021, PAGE, IPC_CREAT | 0600));
	show("new", shmid);
	T(shmdt(TP(shmat(shmid, NULL, 0))));
	T(shmget(0x5e000021, 0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		T(shmget(0x5e000021, PAGE, IPC_CREAT | 0600));
		_exit(0);
	}
	ended("creator", pid);
	T(shmget(0x5e000021, 0, 0));
	return 0;
}
