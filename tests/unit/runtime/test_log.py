"""What a person reads in the log, and how loudly."""
import logging

from appliance.runtime.log import GoodNews, tell


def test_good_news_is_information_and_all_else_a_warning(caplog):
    caplog.set_level(logging.INFO)
    tell(logging.getLogger("test"), ["100 % of the packets are lost", GoodNews("the sender is back")])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "100 % of the packets are lost"), ("INFO", "the sender is back")]
