/* What an owner may do with segments of small modes: an owner of mode 0 has no access without a capability. */
#include "trace.h"

int main(void)
{
	const int modes[] = {0600, 0400, 0200, 0000, 0066, 0777, 0100};
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		printf("---- mode %#o\n", modes[i]);
		int shmid = (int)T(shmget(0x5e000032, PAGE, IPC_CREAT | modes[i]));
		struct shmid_ds ds;
		void *at;
		T(shmget(0x5e000032, 0, 0400));
		T(shmget(0x5e000032, 0, 0200));
		T(shmget(0x5e000032, PAGE + 1, 0200));
		if ((at = TP(shmat(shmid, NULL, 0))) != FAILED)
			T(shmdt(at));
		if ((at = TP(shmat(shmid, NULL, SHM_RDONLY))) != FAILED)
			T(shmdt(at));
		if ((at = TP(shmat(shmid, NULL, SHM_EXEC | SHM_RDONLY))) != FAILED)
			T(shmdt(at));
		T(shmctl(shmid, IPC_STAT, &ds));
		T(shmctl(shmid, IPC_RMID, NULL));
	}
	return 0;
}
