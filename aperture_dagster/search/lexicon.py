"""Words that name a kind of title rather than what it is about, in English and German, and German words of plots.

Words are without accents and case, as :func:`aperture_dagster.search.words.words_of` returns them.
"""

from __future__ import annotations

from aperture_dagster.search.words import listed


def entries(text: str) -> dict[str, str]:
    """Return the entries of lines such as ``meaning: word, other word``, by word."""
    found: dict[str, str] = {}
    for line in text.strip().splitlines():
        meaning, _, words = line.strip().partition(": ")
        found |= dict.fromkeys((word.strip() for word in words.split(",")), meaning)
    return found


GENRES = entries("""
    comedy: comedy, comedies, komodie, komodien, lustspiel, sitcom, sitcoms
    horror: horror, horrorfilm, horrorfilme, gruselfilm, gruselfilme, slasher, slashers
    science fiction: science fiction, sci fi, scifi, sf, science fiction film, zukunftsfilm
    thriller: thriller, thrillers, psychothriller
    drama: drama, dramas, dramen
    romance: romance, romances, liebesfilm, liebesfilme, love story, love stories, liebesgeschichte, romanze
    action: action, actionfilm, actionfilme
    adventure: adventure, adventures, abenteuer, abenteuerfilm, abenteuerfilme
    animation: animation, animated, anime, cartoon, cartoons, zeichentrick, zeichentrickfilm, trickfilm, animationsfilm
    documentary: documentary, documentaries, dokumentarfilm, dokumentarfilme, doku, dokus, dokumentation, docuseries
    crime: crime, krimi, krimis, gangster, gangsterfilm, kriminalfilm
    mystery: mystery, mysteries
    fantasy: fantasy, fantasyfilm
    war: war, kriegsfilm, kriegsfilme, antikriegsfilm
    western: western, westerns, spaghetti western
    musical: musical, musicals
    noir: noir, film noir, noirs
    family: family, familienfilm, familienfilme
    history: historical, period drama, historienfilm, kostumfilm
""")
SUBJECTS_TOO = frozenset({"war", "family", "crime", "adventure", "gangster", "noir", "love story", "love stories"})
"""Names of genres that are as often a subject: they count more for a title, and rule out nothing."""
NAMES_OF_GENRES = {
    "comedy": {"comedy", "komodie"},
    "horror": {"horror"},
    "science fiction": {"science fiction", "sci fi", "sci fi fantasy"},
    "thriller": {"thriller"},
    "drama": {"drama"},
    "romance": {"romance", "liebesfilm", "romanze"},
    "action": {"action", "action adventure"},
    "adventure": {"adventure", "abenteuer", "action adventure"},
    "animation": {"animation", "anime"},
    "documentary": {"documentary", "dokumentarfilm"},
    "crime": {"crime", "krimi"},
    "mystery": {"mystery"},
    "fantasy": {"fantasy", "sci fi fantasy"},
    "war": {"war", "kriegsfilm", "war politics"},
    "western": {"western"},
    "musical": {"musical", "music", "musik"},
    "noir": {"film noir"},
    "family": {"family", "familie", "children", "kids", "kinder"},
    "history": {"history", "historie"},
}
"""What sources call the genres."""

NATIONS = {
    "french": ("fr", "FR", "France"), "german": ("de", "DE", "Germany"), "italian": ("it", "IT", "Italy"),
    "spanish": ("es", "ES", "Spain"), "japanese": ("ja", "JP", "Japan"), "korean": ("ko", "KR", "South Korea"),
    "chinese": ("zh cn", "CN", "China"), "hong kong": ("cn zh", "HK", "Hong Kong"), "russian": ("ru", "RU", "Russia"),
    "swedish": ("sv", "SE", "Sweden"), "danish": ("da", "DK", "Denmark"), "norwegian": ("no nb", "NO", "Norway"),
    "finnish": ("fi", "FI", "Finland"), "dutch": ("nl", "NL", "Netherlands"), "polish": ("pl", "PL", "Poland"),
    "indian": ("hi ta te ml bn", "IN", "India"), "iranian": ("fa", "IR", "Iran"), "turkish": ("tr", "TR", "Turkey"),
    "portuguese": ("pt", "PT", "Portugal"), "brazilian": ("pt", "BR", "Brazil"), "thai": ("th", "TH", "Thailand"),
    "mexican": ("es", "MX", "Mexico"), "argentinian": ("es", "AR", "Argentina"),
    "czech": ("cs", "CZ", "Czech Republic"),
    "british": ("en", "GB", "United Kingdom"), "australian": ("en", "AU", "Australia"),
    "icelandic": ("is", "IS", "Iceland"), "romanian": ("ro", "RO", "Romania"), "greek": ("el", "GR", "Greece"),
    "austrian": ("de", "AT", "Austria"), "irish": ("en", "IE", "Ireland"), "hungarian": ("hu", "HU", "Hungary"),
}  # fmt: skip
"""By adjective: languages, country and its name."""
NATION_WORDS = entries("""
    french: french, franzosischer, franzosische, franzosisches, franzosischen, franzosisch, frankreich, france
    german: german, deutscher, deutsche, deutsches, deutschen, deutsch, deutschland, germany
    italian: italian, italienischer, italienische, italienisches, italienisch, italien, italy
    spanish: spanish, spanischer, spanische, spanisches, spanisch, spanien, spain
    japanese: japanese, japanischer, japanische, japanisches, japanisch, japan
    korean: korean, koreanischer, koreanische, koreanisches, koreanisch, korea, south korean
    chinese: chinese, chinesischer, chinesische, chinesisch, china
    hong kong: hong kong, hongkong, cantonese
    russian: russian, russischer, russische, russisch, russland, russia, soviet, sowjetischer
    swedish: swedish, schwedischer, schwedische, schwedisch, schweden, sweden
    danish: danish, danischer, danische, danisch, danemark, denmark
    norwegian: norwegian, norwegischer, norwegische, norwegisch, norwegen, norway
    finnish: finnish, finnischer, finnische, finnisch, finnland, finland
    dutch: dutch, niederlandischer, niederlandische, hollandischer
    polish: polish, polnischer, polnische, polnisch, polen, poland
    indian: indian, indischer, indische, hindi, bollywood, india, indien
    iranian: iranian, persian, farsi, iranischer, iranische, iran
    turkish: turkish, turkischer, turkische, turkisch, turkei
    portuguese: portuguese, portugiesischer, portugiesische
    brazilian: brazilian, brasilianischer, brasilianische, brazil
    thai: thai, thailandischer
    mexican: mexican, mexikanischer, mexikanische
    argentinian: argentinian, argentine, argentinischer
    czech: czech, tschechischer, tschechische
    british: british, britischer, britische, britisches
    australian: australian, australischer, australische
    icelandic: icelandic, islandischer
    romanian: romanian, rumanischer
    greek: greek, griechischer
    austrian: austrian, osterreichischer, osterreichische
    irish: irish, irischer, irische
    hungarian: hungarian, ungarischer, ungarische
""")
SCREEN_WORDS = listed(
    """
    film films movie movies cinema flick flicks picture pictures series show shows serie serien filme language
    spielfilm kino
    """
)
"""A nation before one of these, or before a genre, is where the title is from; elsewhere it may be a subject."""

MOODS: dict[str, tuple[dict[str, float], str]] = {
    "feel good": ({"comedy": 0.5, "romance": 0.3, "family": 0.3, "horror": -1, "war": -0.7, "thriller": -0.6,
                   "crime": -0.4}, "heartwarming uplifting"),
    "funny": ({"comedy": 0.8}, ""),
    "scary": ({"horror": 0.8, "comedy": -0.4}, "terror"),
    "romantic": ({"romance": 0.9}, "love"),
    "slow": ({"drama": 0.4, "action": -0.7, "comedy": -0.3}, "meditative solitude"),
    "sad": ({"drama": 0.5, "comedy": -0.5}, "grief loss dying"),
    "dark": ({"thriller": 0.3, "crime": 0.2, "comedy": -0.3, "family": -0.6}, "disturbing"),
    "exciting": ({"action": 0.4, "thriller": 0.5}, "suspense"),
    "whodunit": ({"mystery": 0.8, "crime": 0.4}, "murder detective suspects"),
    "heist": ({"crime": 0.3}, "robbery thieves bank"),
    "biopic": ({"drama": 0.3}, "biography true life"),
    "coming of age": ({"drama": 0.3, "horror": -0.4}, "teenager adolescence youth"),
    "superhero": ({"action": 0.3}, "comic"),
    "time travel": ({"science fiction": 0.2}, ""),
    "slasher": ({"horror": 0.3}, "killer masked"),
    "courtroom": ({"drama": 0.2}, "lawyer trial jury"),
    "light": ({"comedy": 0.5, "horror": -0.7, "war": -0.5}, ""),
    "weird": ({"fantasy": 0.2}, "surreal absurd"),
    "love story": ({"romance": 0.4}, "love"),
}  # fmt: skip
"""What a mood says of genres, from -1 to 1, and words that plots of that mood have."""
MOOD_WORDS = entries(
    """
    feel good: feel good, feelgood, feel good film, heartwarming, uplifting, wohlfuhlfilm, wohlfuhlfilme, herzerwarmend,
     herzerwarmender, cozy, cosy, cheerful, heiter, heiterer
    funny: funny, funnier, hilarious, humorous, lustig, lustiger, lustige, lustigen, lustiges, witzig, witziger
    scary: scary, scarier, creepy, terrifying, frightening, gruselig, gruseliger, unheimlich, unheimlicher
    romantic: romantic, romantisch, romantischer, romantische
    slow: slow, slower, quiet, calm, meditative, contemplative, langsam, langsamer, ruhig, ruhiger
    sad: sad, sadder, tearjerker, heartbreaking, tragic, traurig, trauriger, traurige
    dark: dark, darker, bleak, grim, gritty, duster, dusterer, finster
    exciting: exciting, gripping, suspenseful, tense, thrilling, spannend, spannender, spannende, faster, schneller
    whodunit: whodunit, whodunits, whodunnit, whodunnits, murder mystery
    heist: heist, heists, bankraub, einbruch
    biopic: biopic, biopics, true story, filmbiografie, biografie
    coming of age: coming of age, growing up, erwachsenwerden
    superhero: superhero, superheroes, superheld, superhelden
    time travel: time travel, time traveler, time traveller, zeitreise, zeitreisen
    slasher: slasher, slashers
    courtroom: courtroom, gerichtsdrama, gerichtsfilm
    light: light, lighter, lighthearted, leicht, leichter
    weird: weird, strange, surreal, bizarre, seltsam, skurril, skurriler
    love story: love story, love stories, liebesgeschichte, liebesfilm
""".replace(",\n     ", ", ")
)
FOR_CHILDREN = listed(
    """
    for kids, for children, for the kids, kids movie, kids film, kids movies, for young children, kids, fur
    kinder, fur die kinder, kinderfilm, kinderfilme, children s film, childrens film, for my daughter, for my
    son, for the whole family, fur die ganze familie, family film, family movie
    """
)
LIKE = listed(
    """
    like, similar to, something like, films like, movies like, in the style of, wie, so wie, ahnlich wie,
    etwas wie, filme wie, more like
    """
)
BUT = listed(
    """
    but aber only nur just
    """
)
NOT = listed(
    """
    not no without ohne kein keine nicht non
    """
)
BY = listed(
    """
    by, with, starring, from, directed by, von, mit, vom, featuring
    """
)
SERIES = listed(
    """
    series, tv series, tv show, tv shows, serie, serien, miniseries, sitcom, docuseries
    """
)
FILMS = listed(
    """
    film films movie movies filme spielfilm
    """
)
SHORT = listed(
    """
    short, shorter, kurz, kurzer, kurze, kurzes, not too long
    """
)
LONG = listed(
    """
    long longer lang langer epic
    """
)
OLD = listed(
    """
    old, older, classic, vintage, alt, alter, alte, klassiker, altere, black and white
    """
)
NEW = listed(
    """
    new newer recent modern neu neuer neue neuere aktuelle
    """
)
DECADES = {
    name: decade for decade, names in {
        1920: "twenties zwanziger", 1930: "thirties dreissiger", 1940: "forties vierziger", 1950: "fifties funfziger",
        1960: "sixties sechziger", 1970: "seventies siebziger", 1980: "eighties achtziger", 1990: "nineties neunziger",
    }.items() for name in names.split()
}  # fmt: skip
NUMBERS = {
    "one": 1, "two": 2, "three": 3, "an": 1, "eine": 1, "einer": 1, "zwei": 2, "drei": 3, "half": 0.5, "ninety": 90,
}  # fmt: skip
