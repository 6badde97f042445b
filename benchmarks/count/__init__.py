"""What the Manager does for one message, counted instead of timed, and compared with what it did before.

A time depends on the machine and on what else it does; how many instructions, system calls and allocations a
message costs hardly does. So one run shows what a change costs, on a machine that is not quiet, too.

    __main__    the command line
    driver      the peers: what the Manager is made to do
    watch       the Manager, while valgrind, strace or a profiler looks on
    readers     what these print
    figures     the stored figures, and the comparison
    profiling   where the work goes
    manager     the process of the Manager

Rule of this package: nothing in it depends on how long something takes. It must not know the insides of the Manager,
but for the clock in `manager`.
"""
