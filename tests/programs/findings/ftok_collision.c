/* Two projects of which ftok keeps the same 8 bits. */
#include <sys/ipc.h>

int main(void)
{
	return ftok("/", 0x053) != ftok("/", 0x153);
}
