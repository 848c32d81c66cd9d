/* Makes a key of a file that is not there, and takes it for one. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	key_t key = ftok("/no/such/file", 'S');
	int id = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600);
	return id == -1 || shmctl(id, IPC_RMID, NULL) == -1;
}
