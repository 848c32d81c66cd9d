/* Who may do what, by class: owner, group, others; the first that matches decides. Needs root for the uids. */
#include "trace.h"
#include <grp.h>
#include <stddef.h>

static int shmid;

/* A refused call leaves the buffer alone, in one page and over the edge of two. (What Linux does not use of it is not looked at.) */
static void refused_into(const char *where, struct shmid_ds *ds)
{
	struct shmid_ds before;
	memset(ds, 0x5a, sizeof *ds);
	before = *ds;
	errno = 0;
	int result = shmctl(shmid, IPC_STAT, ds);
	if (result == -1)
		printf("%s: %s, %s\n", where, errname(errno),
		       memcmp(ds, &before, offsetof(struct shmid_ds, shm_nattch) + sizeof ds->shm_nattch) ? "changed" : "as it was");
}

/* In a child with these ids and no others. */
static void as(const char *who, uid_t uid, gid_t gid, const gid_t *groups, size_t count)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (setgroups(count, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
			_exit(9);
		struct shmid_ds ds;
		printf("-- %s\n", who);
		T(shmget(0x5e000031, 0, 0));
		T(shmget(0x5e000031, 0, 0400));
		T(shmget(0x5e000031, 0, 0200));
		T(shmget(0x5e000031, 0, 0600));
		T(shmget(0x5e000031, 0, 0006));
		T(shmget(0x5e000031, 1 << 20, 0600)); /* size comes before permission */
		T(shmget(0x5e000031, 0, IPC_CREAT | 0666));
		T(shmget(0x5e000031, 0, IPC_CREAT | IPC_EXCL | 0666));
		T(shmat(shmid, NULL, 0));
		T(shmat(shmid, NULL, SHM_RDONLY));
		T(shmat(shmid, NULL, SHM_EXEC));
		T(shmat(shmid, NULL, SHM_RDONLY | SHM_EXEC));
		T(shmctl(shmid, IPC_STAT, &ds));
		T(shmctl(shmid, IPC_STAT, NULL));
		static _Alignas(4096) char pages[2 * 4096];
		refused_into("in a page", (struct shmid_ds *)pages);
		refused_into("over an edge", (struct shmid_ds *)(pages + 4096 - 8));
		T(shmctl(shmid & 0x7fff, SHM_STAT, &ds) == -1 ? -1 : 0);
		T(shmctl(shmid & 0x7fff, 15 /* SHM_STAT_ANY */, &ds) == -1 ? -1 : 0);
		T(shmctl(shmid, IPC_SET, NULL));
		T(shmctl(shmid, SHM_LOCK, NULL));
		T(shmctl(shmid, SHM_UNLOCK, NULL));
		_exit(0);
	}
	ended(who, pid);
}

static void everyone(void)
{
	as("owner", 1001, 1009, NULL, 0);
	as("creator's group", 1005, 1002, NULL, 0);
	as("supplementary group", 1005, 1009, (gid_t[]){1010, 1002}, 2);
	as("stranger", 1005, 1009, NULL, 0);
	static gid_t many[1000];
	for (unsigned i = 0; i < 1000; i++)
		many[i] = 5000 - i;
	as("a thousand groups", 1005, 1009, many, 1000);
	many[999] = 1002;
	as("one of a thousand groups", 1005, 1009, many, 1000);
}

int main(void)
{
	const int modes[] = {0600, 0000, 0640, 0060, 0604, 0066, 0777, 0444, 0222, 0077};
	if (geteuid() != 0) {
		puts("not root");
		return 0;
	}
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		shmid = shmget(0x5e000031, PAGE, IPC_CREAT | 0600);
		struct shmid_ds ds = status(shmid);
		ds.shm_perm.uid = 1001;
		ds.shm_perm.gid = 1002;
		ds.shm_perm.mode = modes[i];
		printf("---- mode %#o\n", modes[i]);
		T(shmctl(shmid, IPC_SET, &ds));
		everyone();
		T(shmctl(shmid, IPC_RMID, NULL));
	}
	/* what owners and strangers may change */
	shmid = shmget(0x5e000031, PAGE, IPC_CREAT | 0666);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(1005, 1005, 1005))
			_exit(9);
		struct shmid_ds ds = status(shmid);
		T(shmctl(shmid, IPC_SET, &ds));
		T(shmctl(shmid, IPC_RMID, NULL));
		int own = (int)T(shmget(IPC_PRIVATE, PAGE, 0600));
		ds = status(own);
		printf("owner %d creator %d\n", ds.shm_perm.uid == 1005, ds.shm_perm.cuid == 1005);
		ds.shm_perm.uid = 1006; /* given away, the creator keeps its rights */
		T(shmctl(own, IPC_SET, &ds));
		T(shmctl(own, IPC_STAT, &ds));
		T(shmctl(own, IPC_RMID, NULL));
		_exit(0);
	}
	ended("stranger", pid);
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
