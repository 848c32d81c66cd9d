/* Calls by syscall, as UCX (for MPI) makes them: it overwrites the first bytes of shmat and shmdt, whoever's they are, so as to hear of mappings. */
#include "trace.h"
#include <dlfcn.h>
#include <sys/syscall.h>

static int attaches, detaches;

static void *heard_shmat(int shmid, const void *addr, int flags)
{
	attaches++;
	return (void *)syscall(SYS_shmat, shmid, addr, flags);
}

static int heard_shmdt(const void *addr)
{
	detaches++;
	return (int)syscall(SYS_shmdt, addr);
}

/* A jump to `to` in the place of a function's beginning. */
static void overwrite(const char *name, void *to)
{
#ifdef __x86_64__
	unsigned char jump[] = {0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3};
	char *from = dlsym(RTLD_DEFAULT, name), *page = (char *)((uintptr_t)from & -PAGE);
	memcpy(jump + 2, &to, sizeof to);
	T(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	memcpy(from, jump, sizeof jump);
	T(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
#endif
}

int main(void)
{
	int shmid = private_segment(PAGE, 0600);
	show("at first", shmid);
	char *at = TP(syscall(SYS_shmat, shmid, NULL, 0));
	show("attached", shmid);
	T(syscall(SYS_shmat, shmid, at, 0));
	T(syscall(SYS_shmdt, at));
	T(syscall(SYS_shmdt, at));

	overwrite("shmat", heard_shmat);
	overwrite("shmdt", heard_shmdt);
	char *one = TP(shmat(shmid, NULL, 0));
	char *two = TP(shmat(shmid, NULL, SHM_RDONLY));
	strcpy(one, "shared");
	printf("%s, heard %d\n", two, attaches);
	T(shmctl(shmid, IPC_RMID, NULL));
	show("removed", shmid);
	T(shmdt(one));
	T(shmdt(two));
	printf("heard %d\n", detaches);
	T(shmat(shmid, NULL, 0));
	return 0;
}
