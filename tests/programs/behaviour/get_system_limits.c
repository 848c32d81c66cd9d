/* The system's own limits, made small where we may: the kernel's answers come through. */
#include "trace.h"

static int set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	if (fd == -1)
		return -1;
	int result = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1;
	close(fd);
	return result;
}

int main(void)
{
	if (geteuid() != 0 || set("/proc/sys/kernel/shmmax", "65536") == -1) {
		puts("not ours to change");
		return 0;
	}
	T(shmget(IPC_PRIVATE, 65537, 0600));
	int full = (int)T(shmget(IPC_PRIVATE, 65536, 0600));
	T(set("/proc/sys/kernel/shmall", "20"));
	T(shmget(IPC_PRIVATE, 4 * PAGE + 1, 0600));
	int rest = (int)T(shmget(IPC_PRIVATE, 4 * PAGE, 0600));
	T(shmget(IPC_PRIVATE, 1, 0600));
	T(set("/proc/sys/kernel/shmall", "1000000"));
	T(set("/proc/sys/kernel/shmmni", "3"));
	int third = (int)T(shmget(0x5e000003, 1, IPC_CREAT | 0600));
	T(shmget(0x5e000004, 1, IPC_CREAT | 0600));
	T(shmget(0x5e000003, 1, IPC_CREAT | 0600));
	/* marked segments count until they are gone */
	void *at = TP(shmat(third, NULL, 0));
	T(shmctl(third, IPC_RMID, NULL));
	T(shmget(0x5e000004, 1, IPC_CREAT | 0600));
	T(shmdt(at));
	int fourth = (int)T(shmget(0x5e000004, 1, IPC_CREAT | 0600));
	T(shmctl(fourth, IPC_RMID, NULL));
	T(shmctl(rest, IPC_RMID, NULL));
	T(shmctl(full, IPC_RMID, NULL));
	return 0;
}
