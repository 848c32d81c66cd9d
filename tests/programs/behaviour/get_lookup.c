/* shmget on keys that exist and keys that do not: which errno comes first. */
#include "trace.h"

int main(void)
{
	const key_t key = 0x5e000001;
	T(shmget(key, 4096, 0600));
	T(shmget(key, 4096, IPC_EXCL | 0600));
	int shmid = (int)T(shmget(key, 10000, IPC_CREAT | 0600));
	T(shmget(key, 10000, IPC_CREAT | IPC_EXCL | 0600));
	/* exclusive creation is refused before size and mode are looked at */
	T(shmget(key, 1 << 20, IPC_CREAT | IPC_EXCL | 0600));
	T(shmget(key, 0, IPC_CREAT | IPC_EXCL));
	printf("the same: %d\n", shmget(key, 10000, 0600) == shmid);
	printf("the same with IPC_EXCL alone: %d\n", shmget(key, 10000, IPC_EXCL) == shmid);
	printf("the same with IPC_CREAT: %d\n", shmget(key, 10000, IPC_CREAT | 0600) == shmid);
	T(shmget(key, 0, 0));
	T(shmget(key, 1, 0));
	/* the size asked is compared with the stored one, which is not rounded */
	T(shmget(key, 10001, 0));
	T(shmget(key, 12288, 0));
	T(shmget(key, 12288, IPC_CREAT | 0600));
	T(shmget(key, (size_t)-1, 0));
	/* bits nobody knows */
	printf("unknown bits: %d\n", shmget(key, 0, 0x01000000) == shmid);
	printf("negative flags: %d\n", shmget(key, 0, (int)0x80000000) == shmid);
	/* negative keys are keys */
	T(shmget((key_t)-1, 4096, 0600));
	int negative = (int)T(shmget((key_t)0xfe000001, 4096, IPC_CREAT | 0600));
	printf("key %#x\n", (unsigned)status(negative).shm_perm.__key);
	T(shmctl(negative, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmget(key, 0, 0));
	return 0;
}
