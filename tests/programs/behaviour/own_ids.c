/* A program, or a library preloaded beside (as fakeroot's), that has its own geteuid and getegid: whose a segment is the kernel says. */
#include "trace.h"
#include <sys/syscall.h>

uid_t geteuid(void)
{
	return 4711;
}

gid_t getegid(void)
{
	return 4711;
}

int main(void)
{
	uid_t uid = (uid_t)syscall(SYS_geteuid);
	gid_t gid = (gid_t)syscall(SYS_getegid);
	int shmid = (int)T(shmget(0x5e000038, PAGE, IPC_CREAT | 0600));
	struct ipc_perm perm = status(shmid).shm_perm;
	printf("user: %d %d\n", perm.uid == uid, perm.cuid == uid);
	printf("group: %d %d\n", perm.gid == gid, perm.cgid == gid);
	T(shmget(0x5e000038, 0, 0600));
	void *at = TP(shmat(shmid, NULL, 0));
	printf("nattch: %ld\n", nattch(shmid));
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
