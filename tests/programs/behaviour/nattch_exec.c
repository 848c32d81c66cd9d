/* exec gives all attaches back, and the new image calls on. */
#include "trace.h"

int main(int argc, char **argv)
{
	if (argc > 1) {
		int shmid = atoi(argv[1]);
		show("after exec", shmid);
		char *at = TP(shmat(shmid, NULL, 0));
		printf("data: %s\n", at);
		show("attached again", shmid);
		T(shmctl(shmid, IPC_RMID, NULL));
		return 3;
	}
	int shmid = private_segment(PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0)), text[16];
	T(shmat(shmid, NULL, SHM_RDONLY));
	strcpy(at, "through exec");
	show("before exec", shmid);
	snprintf(text, sizeof text, "%d", shmid);
	/* a failed exec changes nothing */
	T(execl("/nonexistent", "nonexistent", NULL));
	show("after a failed exec", shmid);
	execl("/proc/self/exe", argv[0], text, NULL);
	return 1;
}
