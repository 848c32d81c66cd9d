/* AIX's words to shmget are wishes: whether anybody follows them or not, nothing fails, and a segment is what it is without. */
#include "trace.h"
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "shmgate.h"

#define WISHES (SHM_LGPAGE | SHM_PIN | SHM_HGSEG)

/* The owner's bits alone: pinned pages show in the mode. */
static void told(int shmid)
{
	struct shmid_ds ds = status(shmid);
	printf("mode %#o segsz %zu nattch %lu\n", ds.shm_perm.mode & 0777, ds.shm_segsz, (unsigned long)ds.shm_nattch);
}

static void used(int flags, size_t size)
{
	int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | 0640 | flags);
	if (shmid == -1) {
		printf("flags %#x size %zu: %s\n", flags, size, errname(errno));
		return;
	}
	char *at = TP(shmat(shmid, NULL, 0));
	char *again = TP(shmat(shmid, NULL, SHM_RDONLY));
	if (at == FAILED || again == FAILED)
		return;
	at[0] = 1;
	at[size - 1] = 2;
	printf("read: %d %d\n", again[0], again[size - 1]);
	told(shmid);
	T(shmctl(shmid, SHM_UNLOCK, NULL));
	T(shmdt(at));
	T(shmdt(again));
	T(shmctl(shmid, IPC_RMID, NULL));
}

static void by_key(void)
{
	key_t key = 0x5e00ad01 + getpid() % 4096;
	T(shmget(key, PAGE, WISHES | 0600) == -1 ? -1 : 0);
	int shmid = shmget(key, PAGE, IPC_CREAT | 0600 | WISHES);
	printf("made: %d\n", shmid != -1);
	printf("found: %d\n", shmget(key, PAGE, WISHES | 0600) == shmid);
	printf("found by IPC_CREAT: %d\n", shmget(key, PAGE, IPC_CREAT | 0600 | WISHES) == shmid);
	printf("found without: %d\n", shmget(key, 0, 0) == shmid);
	T(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600 | WISHES) == -1 ? -1 : 0);
	T(shmget(key, 2 * PAGE, IPC_CREAT | 0600 | WISHES) == -1 ? -1 : 0);
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600 | WISHES) == -1 ? -1 : 0);
}

/* What is attached stays where it was asked to be, and goes to children. */
static void placed(void)
{
	int shmid = private_segment(PAGE, 0600 | WISHES);
	char *at = shmat(shmid, NULL, 0);
	T(shmdt(at));
	char *chosen = shmat(shmid, at, 0);
	printf("where it was asked to be: %d\n", chosen == at);
	T(shmat(shmid, at, 0) == FAILED ? -1 : 0);
	T(shmat(shmid, at, SHM_REMAP) == FAILED ? -1 : 0);
	T(shmat(shmid, at + 1, 0) == FAILED ? -1 : 0);
	T(shmat(shmid, NULL, SHM_REMAP) == FAILED ? -1 : 0);
	T(shmctl(shmid, IPC_RMID, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		char *another = shmat(shmid, NULL, 0);
		another[0] = 7;
		printf("child: %d, nattch %ld\n", at[0], nattch(shmid));
		_exit(0);
	}
	ended("child", pid);
	printf("nattch %ld\n", nattch(shmid));
	T(shmdt(at));
}

/* Gives up CAP_IPC_LOCK: nothing can be pinned any more. */
static void without_capability(int number)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2];
	T(syscall(SYS_capget, &header, sets));
	sets[0].effective &= ~(1U << number);
	T(syscall(SYS_capset, &header, sets));
}

int main(void)
{
	int flags[] = {SHM_LGPAGE, SHM_PIN, SHM_HGSEG, WISHES, WISHES | SHM_NORESERVE};
	size_t sizes[] = {1, PAGE, (3 << 20) + 5};
	for (int i = 0; i < 15; i++)
		used(flags[i / 3], sizes[i % 3]);
	by_key();
	placed();
	struct rlimit limit = {0, 0};
	T(setrlimit(RLIMIT_MEMLOCK, &limit));
	without_capability(14);
	used(WISHES, 1 << 20);
	return 0;
}
