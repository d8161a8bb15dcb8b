"""Times of jobs in words, in both languages, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.model import often
from aperture_dagster.settings import load_settings
from aperture_dagster.texts import LANGUAGES, texts_of
from aperture_dagster.texts.times import read_when, when

minutes, hours = st.integers(0, 59), st.integers(0, 23)
weekdays = st.one_of(
    st.just("*"), st.sets(st.sampled_from("0123456"), min_size=1, max_size=6).map(lambda days: ",".join(sorted(days)))
)
crons = st.one_of(
    st.builds("{} {} * * {}".format, minutes, hours, weekdays),
    st.builds("{} * * * *".format, minutes),
    st.builds("{} */{} * * *".format, minutes, st.integers(2, 23)),
    st.builds("*/{} * * * *".format, st.integers(1, 59)),
)


@given(crons, st.sampled_from(sorted(LANGUAGES)))
def test_what_a_cron_says_in_words_is_read_as_that_cron(cron: str, language: str):
    words = when(cron, texts_of(language))
    assert words != cron and read_when(words) == cron == read_when(cron)
    assert load_settings(schedules={"sync_movies": cron}).schedules == {"sync_movies": cron}


@given(crons.filter(lambda cron: cron.split()[1].isdigit()))
def test_times_of_day_are_in_the_words_of_the_ui(cron: str):
    assert when(cron, texts_of("en")) == often(cron)


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        ("every night at 4", "0 4 * * *"), ("Mondays at 8", "0 8 * * 1"), ("on Monday and Friday at 8", "0 8 * * 1,5"),
        ("jeden Montag, Mittwoch und Freitag um 8", "0 8 * * 1,3,5"), ("on Sunday at 7.30", "30 7 * * 0"),
        ("every evening at 8", "0 20 * * *"), ("daily at 12 am", "0 0 * * *"), ("daily at noon", "0 12 * * *"),
        ("Every  Friday at 4:15 PM ", "15 16 * * 5"), ("hourly", "0 * * * *"), ("every 6 hours", "0 */6 * * *"),
        ("jede Nacht um 4", "0 4 * * *"), ("montags um 8", "0 8 * * 1"), ("täglich um 4:30 Uhr", "30 4 * * *"),
        ("jeden Sonntag um Mitternacht", "0 0 * * 0"), ("alle 30 Minuten", "*/30 * * * *"), ("stündlich", "0 * * * *"),
        ("off", "off"), ("nie", "off"),
        ("every day at 25", None), ("daily at 4:60", None), ("daily at 13 pm", None), ("every 24 hours", None),
        ("every 0 minutes", None), ("at night", None), ("", None), ("1 2 3 * *", None), ("every 60 minutes", None),
    ],
)  # fmt: skip
def test_what_people_write_is_understood_or_refused_but_never_guessed(written: str, cron: str | None):
    assert read_when(written) == cron
