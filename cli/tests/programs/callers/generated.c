/* A call from code that no file has. */
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>

int main(void)
{
	/* sub rsp, 8; mov rax, ADDRESS; call rax; add rsp, 8; ret */
	unsigned char code[] = { 0x48, 0x83, 0xec, 8, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3 };
	int (*address)(key_t, size_t, int) = shmget;
	char *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(code + 6, &address, 8);
	memcpy(place, code, sizeof code);
	((int (*)(key_t, size_t, int))place)(1, 0, 0);
	return 0;
}
