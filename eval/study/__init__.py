"""The human study of the paper's section 5.3: the page that asks, the votes it collects, and what they say.

    lnm study build                  one HTML page with the films inside it: results/human_study/study.html
    lnm study aggregate [CSV ...]    shares, intervals and tests; without a CSV: inputs/human_study/*.csv
    lnm study simulate               votes from a stated model, marked SIMULATED in every row

The paper's own votes were never published; none is invented here.
"""
