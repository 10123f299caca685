"""How ``fluids.csv`` is made from CoolProp (extra ``fluids``)::

    python -m tests.tasks.fluid_table > mamlkit/tasks/fluids.csv

The figures are CoolProp's reference correlations (Bell et al. 2014, doi:10.1021/ie4033999), not
raw measurements. Kept are the fluids whose correlation reaches down to T/Tc = 0.6. Six of them
are blends or azeotropes; for those the pressure is the bubble-point pressure.
"""

from __future__ import annotations

import hashlib

import numpy as np

#: Reduced temperatures T/Tc of the table.
REDUCED_TEMPERATURES = np.round(np.arange(0.60, 0.985, 0.01), 2)

#: Chemical family of each fluid, by CoolProp's names.
CHEMICAL_FAMILIES = {
    "noble gases": "Argon Krypton Neon Xenon",
    "quantum fluids": "Helium Hydrogen ParaHydrogen OrthoHydrogen Deuterium ParaDeuterium "
    "OrthoDeuterium",
    "inorganics": "Ammonia CarbonMonoxide CarbonylSulfide Chlorine Fluorine HeavyWater "
    "HydrogenChloride HydrogenSulfide Nitrogen NitrousOxide Oxygen SulfurDioxide Water",
    "alkanes": "Methane Ethane n-Propane n-Butane n-Pentane n-Hexane n-Heptane n-Octane n-Nonane "
    "n-Decane n-Undecane n-Dodecane IsoButane Isopentane Isohexane Neopentane",
    "cycloalkanes": "CycloHexane Cyclopentane",
    "alkenes": "Ethylene Propylene 1-Butene IsoButene cis-2-Butene trans-2-Butene",
    "aromatics": "Benzene Toluene EthylBenzene m-Xylene o-Xylene p-Xylene",
    "oxygenates": "Acetone DiethylEther DimethylCarbonate DimethylEther Ethanol Methanol "
    "EthyleneOxide PropyleneGlycol Tetrahydrofuran",
    "methyl esters": "MethylLinoleate MethylLinolenate MethylOleate MethylPalmitate MethylStearate",
    "siloxanes": "D4 D5 D6 MD2M MD3M MD4M MDM MM",
    "chlorocarbons": "Dichloroethane VinylChloride R40 R11 R113 R115 R12 R123 R124 R13 R141b R142b "
    "R21 R22 R1130(E)",
    "fluorocarbons": "R116 R125 R134a R13I1 R14 R143a R152A R161 R218 R227EA R23 R236EA R236FA "
    "R245ca R245fa R32 R365MFC R41 RC318 Novec649 n-Perfluorobutane n-Perfluorohexane "
    "n-Perfluoropentane",
    "fluoroolefins": "R1123 R1224YDZ R1233zd(E) R1234yf R1234ze(E) R1243zf R1336mzz(E) R1336mzz(Z)",
    "blends": "Air R404A R407C R410A R507A SES36",
}

#: Split by chemical family: whole families are held out.
FAMILY_SPLIT = {
    "test": ("siloxanes", "aromatics", "oxygenates", "fluoroolefins"),
    "validation": ("alkenes", "cycloalkanes", "methyl esters", "blends"),
}

#: Spin isomers of one substance stay in one part of the split by substance.
SAME_SUBSTANCE = {
    "ParaHydrogen": "Hydrogen",
    "OrthoHydrogen": "Hydrogen",
    "ParaDeuterium": "Deuterium",
    "OrthoDeuterium": "Deuterium",
}


def substance_split(names: list[str]) -> dict[str, str]:
    """About 60 % train, 15 % validation, 25 % test, in the order of a hash of the name: fixed for
    good, and nobody's choice.
    """

    def position(name: str) -> str:
        return hashlib.sha256(SAME_SUBSTANCE.get(name, name).encode()).hexdigest()

    substances = sorted({position(name) for name in names})
    rank = {key: i / len(substances) for i, key in enumerate(substances)}

    def part(name: str) -> str:
        r = rank[position(name)]
        return "train" if r < 0.60 else "validation" if r < 0.75 else "test"

    return {name: part(name) for name in names}


def main() -> None:
    """Print the table as CSV."""
    from CoolProp import __version__
    from CoolProp.CoolProp import PropsSI

    family_of = {f: key for key, names in CHEMICAL_FAMILIES.items() for f in names.split()}
    names = sorted(
        f
        for f in family_of
        if max(PropsSI("Tmin", f), PropsSI("Ttriple", f)) <= 0.6 * PropsSI("Tcrit", f)
    )
    by_substance = substance_split(names)
    held_out = {family: part for part, families in FAMILY_SPLIT.items() for family in families}
    print(f"# Saturation pressures from CoolProp {__version__} (doi:10.1021/ie4033999)")
    print("# Made by: python -m tests.tasks.fluid_table")
    print("# Columns from 0.60 on: log10(p/pc) at that T/Tc, quality 0. Tc in K, pc in Pa.")
    grid = ",".join(f"{t:.2f}" for t in REDUCED_TEMPERATURES)
    print(f"name,chemical_family,split,family_split,Tc,pc,acentric_factor,{grid}")
    for f in names:
        tc, pc = PropsSI("Tcrit", f), PropsSI("pcrit", f)
        p = np.array([PropsSI("P", "T", t * tc, "Q", 0, f) for t in REDUCED_TEMPERATURES])
        family = family_of[f]
        head = [f, family, by_substance[f], held_out.get(family, "train")]
        numbers = [f"{tc:.7g}", f"{pc:.7g}", f"{PropsSI('acentric', f):.5f}"]
        print(",".join(head + numbers + [f"{v:.5f}" for v in np.log10(p / pc)]))


if __name__ == "__main__":
    main()
