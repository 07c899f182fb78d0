"""Names, towns and telephone numbers by region.

Telephone numbers are from ranges that regulators reserve for fiction, and domains end in the
reserved ``.example``, so that none of them belongs to a real person.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    city: str
    state: str
    zip: str
    country: str
    territory: str


@dataclass(frozen=True, slots=True)
class Region:
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    house_first: bool
    suffixes: tuple[str, ...]
    places: tuple[Place, ...]
    phone: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace("\n", " ").split())


GERMANY = Region(
    first_names=_words("""
        Anna Ben Clara David Elif Felix Greta Hannes Ines Jonas Katrin Lukas Marie Nils Oliver
        Paula Quirin Rosa Stefan Tim Ulrike Viktor Wiebke Yasmin Zoë Jürgen Björn Käthe Søren
        Łukasz Aylin Mehmet Beate Carsten Dörte Emil Frieda Günther Heike Ivana José Kübra
    """),
    last_names=_words("""
        Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch
        Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann
        Lange Krause Lehmann Maier Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters
        Lang Scholz Möller Weiß Jung Hahn Vogel Friedrich Keller Günther Frank Berger Winkler
        Yıldız Nowak Petrović Großmann
    """),
    streets=(
        "Hauptstraße",
        "Bahnhofstraße",
        "Gartenweg",
        "Industriestraße",
        "Am Markt",
        "Lindenallee",
        "Schloßplatz",
        "Hafenstraße",
    ),
    house_first=False,
    suffixes=("GmbH", "GmbH", "AG", "KG", "e.K.", "GmbH & Co. KG", "SE"),
    places=(
        Place("Berlin", "Berlin", "10115", "Germany", "East"),
        Place("Leipzig", "Sachsen", "04109", "Germany", "East"),
        Place("Hamburg", "Hamburg", "20095", "Germany", "North"),
        Place("Hannover", "Niedersachsen", "30159", "Germany", "North"),
        Place("München", "Bayern", "80331", "Germany", "South"),
        Place("Nürnberg", "Bayern", "90402", "Germany", "South"),
        Place("Köln", "Nordrhein-Westfalen", "50667", "Germany", "West"),
        Place("Düsseldorf", "Nordrhein-Westfalen", "40213", "Germany", "West"),
        Place("Wien", "Wien", "1010", "Austria", "DACH abroad"),
        Place("Zürich", "Zürich", "8001", "Switzerland", "DACH abroad"),
    ),
    phone="+49 30 23125 {:03d}",
)

UNITED_STATES = Region(
    first_names=_words("""
        Aaron Brianna Carlos Denise Ethan Fiona Grace Hector Isabel James Kayla Liam Monica Noah
        Olivia Patrick Quinn Rachel Samuel Tanya Umar Vanessa William Ximena Yolanda Zachary
        D'Andre Siobhán René Priya Wei Chloé Marcus Latoya Sean Naomi Óscar Hannah Tyler Mei
    """),
    last_names=_words("""
        Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez
        Gonzalez Wilson Anderson Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris
        Sanchez Clark Ramirez Lewis Robinson Walker Young Allen King Wright Scott Torres Nguyen
        Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts O'Neill
        O'Brien Núñez Muñoz Patel
    """),
    streets=(
        "Main Street",
        "Broad Street",
        "Maple Avenue",
        "Commerce Drive",
        "Harbor Road",
        "5th Avenue",
        "Liberty Plaza",
        "Mill Lane",
    ),
    house_first=True,
    suffixes=("Inc.", "LLC", "LLC", "Corp.", "Group", "Associates, LLP", "Holdings"),
    places=(
        Place("New York", "NY", "10001", "United States", "Metro"),
        Place("Brooklyn", "NY", "11201", "United States", "Metro"),
        Place("Newark", "NJ", "07102", "United States", "Metro"),
        Place("Stamford", "CT", "06901", "United States", "New England"),
        Place("Boston", "MA", "02108", "United States", "New England"),
        Place("Providence", "RI", "02903", "United States", "New England"),
        Place("Philadelphia", "PA", "19102", "United States", "Mid-Atlantic"),
        Place("Baltimore", "MD", "21201", "United States", "Mid-Atlantic"),
        Place("Montréal", "QC", "H2Y 1C6", "Canada", "Canada"),
    ),
    phone="+1 212-555-0{:03d}",
)

AUSTRALIA = Region(
    first_names=_words("""
        Alice Bruce Charlotte Darcy Ella Finn Georgia Harry Isla Jack Kylie Lachlan Mia Nathan
        Oscar Poppy Riley Sienna Thomas Violet William Zara Hamish Imogen Kiri Anh Niamh Zoë
    """),
    last_names=_words("""
        Smith Jones Williams Brown Wilson Taylor Nguyen Johnson Martin White Anderson Walker
        Thompson Thomas Lee Harris Ryan Robinson Kelly King O'Connor Murphy Campbell Singh Chen
        Fitzgerald McKenzie Papadopoulos
    """),
    streets=("George Street", "Harbour Road", "Wattle Avenue", "Pitt Street", "Ocean Parade"),
    house_first=True,
    suffixes=("Pty Ltd", "Pty Ltd", "Ltd", "Group", "& Co."),
    places=(
        Place("Sydney", "NSW", "2000", "Australia", "Greater Sydney"),
        Place("Parramatta", "NSW", "2150", "Australia", "Greater Sydney"),
        Place("Newcastle", "NSW", "2300", "Australia", "Hunter"),
        Place("Wollongong", "NSW", "2500", "Australia", "Illawarra"),
        Place("Canberra", "ACT", "2601", "Australia", "ACT"),
        Place("Whangārei", "Northland", "0110", "New Zealand", "New Zealand"),
    ),
    phone="+61 2 5550 0{:03d}",
)

REGIONS = {"de": GERMANY, "us": UNITED_STATES, "au": AUSTRALIA}
