/* Root that becomes somebody else between calls: each call acts with the ids of its moment. */
#include "trace.h"

int main(void)
{
	if (geteuid() != 0) {
		puts("not root");
		return 0;
	}
	int shmid = private_segment(PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	T(seteuid(65534));
	T(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	int own = (int)T(shmget(IPC_PRIVATE, PAGE, 0600));
	T(seteuid(0));
	printf("owner: %u\n", status(own).shm_perm.uid);
	T(setreuid((uid_t)-1, 65534));
	T(shmctl(shmid, IPC_STAT, &(struct shmid_ds){0}));
	T(setreuid((uid_t)-1, 0));
	T(shmctl(shmid, IPC_STAT, &(struct shmid_ds){0}));
	/* for good; what is attached stays attached */
	T(setresuid(65534, 65534, 65534));
	T(setuid(0));
	T(seteuid(0));
	at[0] = 'x';
	T(shmctl(own, IPC_RMID, NULL));
	T(shmdt(at));
	T(shmat(shmid, NULL, SHM_RDONLY));
	int last = (int)T(shmget(0x5e000033, PAGE, IPC_CREAT | 0600));
	T(shmctl(last, IPC_RMID, NULL));
	return 0;
}
