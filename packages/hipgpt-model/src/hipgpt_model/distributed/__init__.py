"""One run on several processes: `mpirun -n 4 …` or `srun …`, one GPU or a few CPU cores each.

Data parallel: every process (a rank) has the whole model and its own rows of each batch. Gradients
are summed over the ranks, each rank updates its share of the weights, and everybody gets all of
them (ZeRO stage 1; Rajbhandari et al. 2020, section 5). MPI starts the processes and sums on the
CPU, RCCL (NCCL on NVIDIA) between GPUs.

    world.py    who is there, by MPI
    watch.py    a rank that dies or hangs is named, and the job ends
    layout.py   which rank owns which part of the flat buffers
    exchange.py sums of gradients, copies of weights: by MPI, or by RCCL
"""
