"""How each statistic is computed, in words, with its sources; a report gives those of the statistics that it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from explorer.geometry_report.report import Report
from explorer.geometry_report.wording import CENTRED

ALWAYS = "*"
"""Stands for every report."""

SOURCES = {
    "benjamini": "Benjamini, Y. & Hochberg, Y. (1995). Controlling the false discovery rate: a practical and "
    "powerful approach to multiple testing. J. R. Stat. Soc. B 57, 289–300.",
    "bjorck": "Björck, Å. & Golub, G. H. (1973). Numerical methods for computing angles between linear subspaces. "
    "Math. Comput. 27, 579–594.",
    "borcard": "Borcard, D., Legendre, P. & Drapeau, P. (1992). Partialling out the spatial component of ecological "
    "variation. Ecology 73, 1045–1055.",
    "facco": "Facco, E., d'Errico, M., Rodriguez, A. & Laio, A. (2017). Estimating the intrinsic dimension of "
    "datasets by a minimal neighborhood information. Sci. Rep. 7, 12140.",
    "fisher": "Fisher, R. A. (1936). The use of multiple measurements in taxonomic problems. Ann. Eugen. 7, 179–188.",
    "gu": "Gu, J. et al. (2025). BioCLIP 2: emergent properties from scaling hierarchical contrastive learning. "
    "NeurIPS; arXiv:2505.23883.",
    "guillot": "Guillot, G. & Rousset, F. (2013). Dismantling the Mantel tests. Methods Ecol. Evol. 4, 336–344.",
    "hartigan": "Hartigan, J. A. & Hartigan, P. M. (1985). The dip test of unimodality. Ann. Stat. 13, 70–84.",
    "himeno": "Himeno, T. & Yamada, T. (2014). Estimations for some functions of covariance matrix in high dimension "
    "under non-normality and its applications. J. Multivar. Anal. 130, 27–44.",
    "kornblith": "Kornblith, S., Norouzi, M., Lee, H. & Hinton, G. (2019). Similarity of neural network "
    "representations revisited. ICML.",
    "ledoit": "Ledoit, O. & Wolf, M. (2004). A well-conditioned estimator for large-dimensional covariance matrices. "
    "J. Multivar. Anal. 88, 365–411.",
    "legendre": "Legendre, P. & Legendre, L. (2012). Numerical Ecology, 3rd English edition. Elsevier.",
    "mantel": "Mantel, N. (1967). The detection of disease clustering and a generalized regression approach. Cancer "
    "Res. 27, 209–220.",
    "mu": "Mu, J. & Viswanath, P. (2018). All-but-the-top: simple and effective postprocessing for word "
    "representations. ICLR.",
    "peres": "Peres-Neto, P. R., Legendre, P., Dray, S. & Borcard, D. (2006). Variation partitioning of species data "
    "matrices: estimation and comparison of fractions. Ecology 87, 2614–2625.",
    "phipson": "Phipson, B. & Smyth, G. K. (2010). Permutation p-values should never be zero. Stat. Appl. Genet. "
    "Mol. Biol. 9, 39.",
    "radovanovic": "Radovanović, M., Nanopoulos, A. & Ivanović, M. (2010). Hubs in space: popular nearest neighbors "
    "in high-dimensional data. J. Mach. Learn. Res. 11, 2487–2531.",
    "roy": "Roy, O. & Vetterli, M. (2007). The effective rank: a measure of effective dimensionality. EUSIPCO, "
    "606–610.",
    "rudman": "Rudman, W., Gillman, N., Rayne, T. & Eickhoff, C. (2022). IsoScore: measuring the uniformity of "
    "embedding space utilization. Findings of ACL.",
    "schonemann": "Schönemann, P. H. (1966). A generalized solution of the orthogonal Procrustes problem. "
    "Psychometrika 31, 1–10.",
    "shao": "Shao, J. & Tu, D. (1995). The Jackknife and Bootstrap. Springer.",
    "song": "Song, L., Smola, A., Gretton, A., Bedo, J. & Borgwardt, K. (2012). Feature selection via dependence "
    "maximization. J. Mach. Learn. Res. 13, 1393–1434.",
    "szekely": "Székely, G. J. & Rizzo, M. L. (2013). The distance correlation t-test of independence in high "
    "dimension. J. Multivar. Anal. 117, 193–213.",
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """How some statistics are computed.

    Attributes:
        title: What they measure.
        text: In words.
        statistics: Names, a number in them written as #; or that of a chapter; `*` stands for every report.
        sources: Keys of SOURCES.
    """

    title: str
    text: str
    statistics: tuple[str, ...]
    sources: tuple[str, ...] = ()


METHODS = (
    Method(
        title="Records, intervals and nulls",
        text="Vectors are the unit vectors that the encoder made, neither calibrated nor whitened; where an origin "
        "matters, the mean is taken away first. Images of one occurrence are not independent: they are averaged "
        "to one row, drawn once, or kept on one side of every split. Intervals are 95 % intervals over species, "
        "genera or occurrences, whichever a statistic generalises to, by a delete-a-group jackknife with "
        "Student's t. A null repeats the statistic on labels that are shuffled inside the groups that could "
        "pose as the effect. p is one-sided and counts the data themselves as one shuffle; q is p adjusted for "
        "all tests of the report. Where a large corpus is drawn from, the reading of the finding says so.",
        statistics=(ALWAYS,),
        sources=(
            "shao",
            "phipson",
            "benjamini",
        ),
    ),
    Method(
        title="Neighbours of species",
        text="A species is the mean of its occurrences, less the mean of all species. Of its 10 nearest other "
        "species (of other genera, of other families) the share with its own value is taken, values counted "
        "alike; for numbers, the mean difference in rank over that from any species. Shuffled: the values among "
        "the species of a genus, or of a family where too few genera hold species that differ.",
        statistics=(
            "knn_agreement",
            "knn_agreement_other_genus",
            "knn_agreement_other_family",
            "knn_gap",
            "knn_gap_other_genus",
            "knn_gap_other_family",
        ),
    ),
    Method(
        title="Reading traits with relatives held out",
        text="A ridge on at most 96 principal directions of the species is fitted with whole species, genera or "
        "families left out, and read on those: balanced accuracy for categories, Spearman's rank correlation "
        "for numbers. Shuffled as above, so that a trait that only follows the taxonomy gives even p; the "
        "values themselves hold what kinship gives as well.",
        statistics=(
            "accuracy_species_out",
            "accuracy_genus_out",
            "accuracy_family_out",
            "rho_species_out",
            "rho_genus_out",
            "rho_family_out",
        ),
    ),
    Method(
        title="Reading a number inside genera",
        text="Vectors and numbers are taken relative to the mean of their genus, a ridge is fitted on some genera "
        "and read on others, and Spearman's rank correlation of reading and truth is taken. Shuffled: the "
        "numbers among the species of each genus.",
        statistics=(
            "rho",
            "species_rho",
        ),
    ),
    Method(
        title="Distances of species",
        text="Distances of species in the space are compared with differences in the trait and with kinship: "
        "patristic distances in the tree that was given, else the number of ranks up to the lowest common "
        "taxon. Distance correlation is the bias-corrected squared one; Mantel's is Pearson's over pairs; "
        "partial ones are given kinship. Shuffled: inside genera, because Mantel tests that shuffle freely "
        "reject too often where both sides follow a tree. For kinship itself, species are shuffled over the "
        "whole tree.",
        statistics=(
            "dcor",
            "partial_dcor",
            "mantel",
            "partial_mantel",
            "kinship_dcor",
            "kinship_mantel",
        ),
        sources=(
            "szekely",
            "mantel",
            "legendre",
            "guillot",
        ),
    ),
    Method(
        title="Partition of the variance",
        text="Redundancy analysis of the species' directions on the trait and on indicators of the genus, with "
        "adjusted R²: the share that the trait explains alone, both explain together, the taxonomy explains "
        "alone, and neither does. Being unbiased, a share may lie a little below 0.",
        statistics=("variance_trait",),
        sources=(
            "borcard",
            "peres",
        ),
    ),
    Method(
        title="Fisher ratio of two states",
        text="Inside species, the squared distance of the two states' means, less what sampling noise alone gives, "
        "over the sum of their variances (traces of the covariances); the mean of the first over species "
        "divided by the mean of the second. Shuffled: the states among the occurrences of each species, or "
        "inside occurrences that show both. The BioCLIP 2 paper names a Fisher discriminant ratio; its section "
        "5.4 could not be compared with this formula.",
        statistics=("fisher",),
        sources=(
            "gu",
            "fisher",
        ),
    ),
    Method(
        title="Variation inside species and the span of the species",
        text="The span holds the k leading directions of the covariance between species' means, less their sampling "
        "noise; k holds 90 % of that variance, or is fixed where the name has a number. The share of all "
        "variation inside species, or of the step from one state to the other, that lies in the span is "
        "measured on species that took no part in it. A direction at random in d dimensions has k/d. The "
        "BioCLIP 2 paper reports an explained variance ratio of this kind; its section 5.4 could not be "
        "compared with this formula.",
        statistics=(
            "span_share",
            "span#_share",
            "direction_share",
            "direction#_share",
        ),
        sources=("gu",),
    ),
    Method(
        title="Principal angles",
        text="Between the span of the species and the span of the steps between states, each from other species than "
        "the other; the mean squared cosine, and the angles. Spans that are known badly lie further apart than "
        "they do in truth: angles are upper bounds, to be read beside their null. That the BioCLIP 2 paper "
        "gives these angles could not be verified.",
        statistics=(
            "angle_overlap",
            "angle#_overlap",
        ),
        sources=(
            "bjorck",
            "gu",
        ),
    ),
    Method(
        title="Telling states apart",
        text="A linear discriminant in whitened space, fitted on other occurrences of the same species, on other "
        "species or on other genera; the area under the ROC curve over pairs of the same species, 0.5 by "
        "chance. What the species alone tells about the state cannot enter it. Shuffled: the states inside "
        "species.",
        statistics=(
            "within_auc",
            "species_transfer_auc",
            "genus_transfer_auc",
            "auc",
        ),
        sources=(
            "fisher",
            "ledoit",
        ),
    ),
    Method(
        title="Whether the step is shared",
        text="The mean product of the steps of two species over the mean squared length of a step, both without the "
        "bias that sampling noise gives: 1 where all species take the same step, 0 where directions are "
        "unrelated. Steps of few records may lie a little outside [−1, 1]. The statistic is ours.",
        statistics=(
            "species_step_cosine",
            "genus_step_cosine",
        ),
    ),
    Method(
        title="Dimensions and isotropy",
        text="Of one random record per occurrence, as the vectors are and centred. Effective dimension is the "
        "participation ratio (tr C)²/tr C², without bias; entropy dimension is exp of the entropy of the "
        "eigenvalues' shares; isotropy is IsoScore, which is (effective dimension − 1)/(d − 1).",
        statistics=(
            "effective_dimension",
            "entropy_dimension",
            "isotropy",
            "mean_cosine",
        ),
        sources=(
            "himeno",
            "roy",
            "rudman",
            "mu",
        ),
    ),
    Method(
        title="Neighbours of records",
        text="Hubness is the skewness of how often a record is among the 10 nearest of others. Intrinsic dimension "
        "is TwoNN's, at the scale of the nearest neighbours: more records look closer. Agreement at a rank is "
        "the share of records whose nearest neighbour of another occurrence has the same taxon, over records "
        "whose taxon has another occurrence at all; chance is that of a random record of another occurrence.",
        statistics=(
            "hubness",
            "intrinsic_dimension",
            "agreement",
        ),
        sources=(
            "radovanovic",
            "facco",
        ),
    ),
    Method(
        title="Two spaces beside each other",
        text="On one random record per occurrence that both spaces hold: linear centred kernel alignment with the "
        "unbiased HSIC; the share of the ten nearest that both agree on; and how much of one space a rotation "
        "and scaling of the other gives back in records that it was not fitted on. Shuffled: which record of "
        "one space belongs to which of the other.",
        statistics=(
            "cka",
            "overlap",
            "procrustes",
        ),
        sources=(
            "kornblith",
            "song",
            "schonemann",
        ),
    ),
    Method(
        title="Suspects",
        text="In centred vectors, from the nearest neighbours of other occurrences: labels against which calibrated "
        "votes of the neighbours speak; images far less like their own taxon than usual, of whose neighbours "
        "none belongs to it; records of different occurrences whose cosine is above what photographs of one "
        "species reach; and species whose occurrences fall in two clusters by a dip test. None is proof; a "
        "person decides.",
        statistics=("suspects",),
        sources=("hartigan",),
    ),
)


def list_methods(report: Report) -> list[Method]:
    """The methods of the statistics in a report, in the order above."""
    names = {entry.finding.statistic.removesuffix(CENTRED) for entry in report.entries}
    present = {ALWAYS, *names, *(re.sub(r"\d+", "#", name) for name in names)}
    present |= {chapter.name for chapter in report.chapters}
    return [method for method in METHODS if present & set(method.statistics)]


def list_sources(report: Report) -> list[str]:
    """The works that these methods cite, by author."""
    keys = dict.fromkeys(key for method in list_methods(report) for key in method.sources)
    return sorted(SOURCES[key] for key in keys)
