/* A handler on a signal stack of 8 KiB, the SIGSTKSZ of old, makes calls. A guard page is below it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/shm.h>

static void handler(int signal)
{
	(void)signal;
	int id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	void *memory = shmat(id, NULL, 0);
	shmdt(memory);
	shmctl(id, IPC_RMID, NULL);
}

int main(void)
{
	/* A processor with more registers than AVX-512's puts them there too, for the handler and for the linker's first look at a function. */
	size_t size = 8192, frame = getauxval(AT_MINSIGSTKSZ);
	size += frame > 3376 ? 2 * (frame - 3376) : 0;
	char *guarded = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(guarded, 4096, PROT_NONE);
	sigaltstack(&(stack_t){ .ss_sp = guarded + 4096, .ss_size = size }, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_ONSTACK }, NULL);
	raise(SIGUSR1);
	puts("the handler returned");
	return 0;
}
