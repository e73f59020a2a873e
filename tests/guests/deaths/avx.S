# Compiled for a processor with AVX.
# options: --mode long
# exit: 8
# said: (vaddps ymm0, ymm1, ymm2) raised #UD
# said: This processor has no AVX: build the guest with -mno-avx
.code64
    vaddps %ymm2, %ymm1, %ymm0
    hlt
